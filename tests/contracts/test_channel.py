"""What every channel does, whatever carries it: a Unix socket, TCP, TLS, or the in-process twin."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme

from limelight.transport.address import ProcessAddress
from limelight.transport.channel import Channel
from limelight.transport.endpoint import Endpoint
from limelight.transport.error import (
    BackpressureError,
    DeadlineExceededError,
    MessageTooLargeError,
    PeerClosedError,
    RemoteCallError,
    TransportError,
)
from limelight.transport.limits import KIB, MIB, TransportLimits
from limelight.transport.protocol import Call, Cancel, Credit, Item, Reply
from limelight.transport.tls import TlsConfig
from limelight.transport.twin import connect_twins
from tests.waiting import until

WAYS = ["unix", "tcp", "tls", "twin"]
LIMITS = TransportLimits(send_buffer=256 * KIB, message=16 * MIB)


class Recorder:
    """A handler that keeps what arrives and does what the test says with calls."""

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self.calls: list[Call] = []
        self.cancels: list[Cancel] = []
        self.credits: list[Credit] = []
        self.lost: list[TransportError] = []
        self.answer: Callable[[Channel, Call], None] = echo

    def on_connected(self, channel: Channel) -> None:
        self.channel = channel

    def on_call(self, channel: Channel, call: Call) -> None:
        self.calls.append(call)
        self.answer(channel, call)

    def on_cancel(self, channel: Channel, cancel: Cancel) -> None:
        self.cancels.append(cancel)

    def on_credit(self, channel: Channel, credit: Credit) -> None:
        self.credits.append(credit)

    def on_lost(self, channel: Channel, error: TransportError) -> None:
        self.lost.append(error)


def echo(channel: Channel, call: Call) -> None:
    if call.call_id:
        channel.reply(call.call_id, call.body)


def silent(channel: Channel, call: Call) -> None:
    """Does not answer."""


class Pair:
    """Two connected processes, `near` being the one whose side the test takes."""

    def __init__(self, near: Channel, near_handler: Recorder, far: Channel, far_handler: Recorder) -> None:
        self.near, self.near_handler, self.far, self.far_handler = near, near_handler, far, far_handler


@contextlib.asynccontextmanager
async def connected(way: str, folder: Path) -> AsyncIterator[Pair]:
    handlers = Recorder(), Recorder()
    if way == "twin":
        left, right = ProcessAddress("near", "here"), ProcessAddress("far", "here")
        near, far = connect_twins(
            left, handlers[0], right, handlers[1], left_info={"role": "near"}, right_info={"role": "far"}, limits=LIMITS
        )
        yield Pair(near, handlers[0], far, handlers[1])
        await near.close()
        await far.close()
        return
    token = os.urandom(32)
    tls = _certificates(folder) if way == "tls" else None
    ends: list[Endpoint] = []
    for name, handler in zip(("near", "far"), handlers, strict=True):
        where = {"unix_path": str(folder / name)} if way == "unix" else {"tcp": "127.0.0.1:0"}
        end = Endpoint(
            process_id=name,
            host_id="here",
            token=token,
            info={"role": name},
            handler=handler,
            limits=LIMITS,
            tls=tls,
            **where,
        )
        await end.start()
        ends.append(end)
    near = await ends[0].connect(ends[1].address)
    await until(lambda: handlers[1].channel)
    assert handlers[1].channel is not None
    yield Pair(near, handlers[0], handlers[1].channel, handlers[1])
    for end in ends:
        await end.close()


def _certificates(folder: Path) -> TlsConfig:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    paths = [folder / name for name in ("authority.pem", "certificate.pem", "key.pem")]
    authority.cert_pem.write_to_path(str(paths[0]))
    certificate.cert_chain_pems[0].write_to_path(str(paths[1]))
    certificate.private_key_pem.write_to_path(str(paths[2]))
    return TlsConfig(certificate=str(paths[1]), key=str(paths[2]), authority=str(paths[0]))


@pytest.fixture(params=WAYS)
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    async with connected(request.param, tmp_path) as pair:
        yield pair
    left = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    assert not left, "closing leaves tasks behind"


async def test_each_side_knows_the_other(pair: Pair) -> None:
    assert (pair.near.peer.process_id, pair.near.peer_info) == ("far", {"role": "far"})
    assert (pair.far.peer.process_id, pair.far.peer_info) == ("near", {"role": "near"})


async def test_a_call_is_answered_in_both_directions(pair: Pair) -> None:
    assert await pair.near.request("actor", "method", b"there", timeout=5) == b"there"
    assert await pair.far.request("actor", "method", b"and back", timeout=5) == b"and back"
    [call] = pair.far_handler.calls
    assert (call.actor, call.method, call.body) == ("actor", "method", b"there")


async def test_a_failed_call_raises_with_the_encoded_error(pair: Pair) -> None:
    pair.far_handler.answer = lambda channel, call: channel.reply(call.call_id, b"why", failed=True)
    with pytest.raises(RemoteCallError, match=r"actor\.method in process far") as caught:
        await pair.near.request("actor", "method", b"", timeout=5)
    assert caught.value.body == b"why"


async def test_an_exception_in_the_handler_fails_that_call_only(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    def broken(channel: Channel, call: Call) -> None:
        raise RuntimeError("a bug")

    pair.far_handler.answer = broken
    with pytest.raises(RemoteCallError):
        await pair.near.request("actor", "method", b"", timeout=5)
    assert "a bug" in caplog.text
    pair.far_handler.answer = echo
    assert await pair.near.request("actor", "method", b"fine", timeout=5) == b"fine"


async def test_nothing_is_delivered_from_within_a_send(pair: Pair) -> None:
    replies: list[object] = []
    pair.near.call("actor", "method", b"", replies.append)
    assert not replies
    assert not pair.far_handler.calls
    await until(lambda: replies)


async def test_a_notification_gets_no_answer(pair: Pair) -> None:
    pair.near.notify("actor", "method", b"psst")
    await until(lambda: pair.far_handler.calls)
    assert pair.far_handler.calls[0].call_id == 0


async def test_messages_keep_their_order(pair: Pair) -> None:
    replies: list[bytes] = []
    for number in range(3000):
        pair.near.call("actor", "method", b"%d" % number, lambda reply: replies.append(reply.body))
        if number % 500 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(replies) == 3000)
    assert replies == [b"%d" % number for number in range(3000)]
    assert [call.body for call in pair.far_handler.calls] == replies


async def test_many_threads_send_at_once(pair: Pair) -> None:
    pair.far_handler.answer = silent

    def send(sender: int) -> None:
        for number in range(500):
            pair.near.notify(f"sender {sender}", "method", b"%d" % number)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    await until(lambda: len(pair.far_handler.calls) == 2000)
    for thread in threads:
        thread.join()
    for sender in range(4):
        bodies = [call.body for call in pair.far_handler.calls if call.actor == f"sender {sender}"]
        assert bodies == [b"%d" % number for number in range(500)]


async def test_a_streaming_call_sends_items_and_then_its_reply(pair: Pair) -> None:
    def stream(channel: Channel, call: Call) -> None:
        for index in range(3):
            channel.item(call.call_id, index, b"item %d" % index)
        channel.reply(call.call_id, b"end")

    events: list[Item | Reply | TransportError] = []
    pair.far_handler.answer = stream
    call_id = pair.near.call("actor", "stream", b"", events.append, events.append)
    await until(lambda: len(events) == 4)
    assert events == [Item(call_id, i, b"item %d" % i) for i in range(3)] + [Reply(call_id, False, b"end")]


async def test_credit_and_cancel_reach_the_peer(pair: Pair) -> None:
    ends: list[object] = []
    pair.far_handler.answer = silent
    call_id = pair.near.call("actor", "stream", b"", ends.append)
    pair.near.credit(call_id, 7)
    pair.near.cancel(call_id, b"recursive")
    await until(lambda: pair.far_handler.cancels)
    assert pair.far_handler.credits == [Credit(call_id, 7)]
    assert pair.far_handler.cancels == [Cancel(call_id, b"recursive")]
    assert not ends, "the call goes on until the peer ends it"
    pair.far.reply(call_id, b"cancelled", failed=True)
    await until(lambda: ends)


async def test_a_request_has_a_deadline(pair: Pair) -> None:
    pair.far_handler.answer = silent
    with pytest.raises(DeadlineExceededError, match=r"actor.method in process far has not answered within 0.05 s"):
        await pair.near.request("actor", "method", b"", timeout=0.05)
    await until(lambda: pair.far_handler.cancels)
    pair.far.reply(pair.far_handler.calls[0].call_id, b"too late")
    pair.far_handler.answer = echo
    assert await pair.near.request("actor", "method", b"next", timeout=5) == b"next"


async def test_large_and_many_messages_arrive_whole(pair: Pair) -> None:
    body = os.urandom(9 * MIB)
    assert await pair.near.request("actor", "method", body, timeout=20) == body
    with pytest.raises(MessageTooLargeError, match="bulk stream"):
        pair.near.notify("actor", "method", bytes(LIMITS.message + 1))


async def test_closing_delivers_what_was_sent_before(pair: Pair) -> None:
    pair.far_handler.answer = silent
    pending: list[Reply | TransportError] = []
    for number in range(200):
        pair.near.call("actor", "method", b"%d" % number, pending.append)
    await pair.near.close("Enough.")
    await until(lambda: pair.far_handler.lost)
    assert len(pair.far_handler.calls) == 200
    [theirs], [ours] = pair.far_handler.lost, pair.near_handler.lost
    assert isinstance(theirs, PeerClosedError)
    assert not theirs.by_us
    assert "near closed the channel: Enough." in str(theirs)
    assert isinstance(ours, PeerClosedError)
    assert ours.by_us
    assert len(pending) == 200
    assert all(isinstance(end, PeerClosedError) for end in pending)


async def test_the_end_fails_calls_of_the_side_that_did_not_close(pair: Pair) -> None:
    pair.far_handler.answer = silent
    pending: list[Reply | TransportError] = []
    pair.near.call("actor", "method", b"", pending.append)
    await until(lambda: pair.far_handler.calls)
    await pair.far.close()
    await until(lambda: pending)
    assert isinstance(pending[0], PeerClosedError)
    assert not pending[0].by_us


async def test_a_call_on_an_ended_channel_reports_the_end(pair: Pair) -> None:
    await pair.near.close()
    ends: list[Reply | TransportError] = []
    pair.near.call("actor", "method", b"", ends.append)
    pair.near.notify("actor", "method", b"")
    pair.near.reply(1, b"")
    assert not ends, "never from within the send"
    await until(lambda: ends)
    assert isinstance(ends[0], PeerClosedError)
    with pytest.raises(PeerClosedError):
        await pair.near.request("actor", "method", b"", timeout=5)


async def test_both_sides_may_close_at_once(pair: Pair) -> None:
    await asyncio.gather(pair.near.close(), pair.far.close())
    assert len(pair.near_handler.lost) == len(pair.far_handler.lost) == 1


async def test_a_full_buffer_stops_senders_on_the_loop_until_drained(pair: Pair) -> None:
    pair.far_handler.answer = silent
    body = bytes(16 * KIB)
    sent = 0
    while pair.near.queued_bytes < LIMITS.send_buffer:
        pair.near.notify("actor", "method", body)
        sent += 1
    assert sent <= LIMITS.send_buffer // len(body)
    with pytest.raises(BackpressureError, match=r"await drain\(\)"):
        pair.near.notify("actor", "method", body)
    pair.near.reply(12345, body)  # replies are always taken
    async with asyncio.timeout(10):
        await pair.near.drain()
    pair.near.notify("actor", "method", body)
    await until(lambda: len(pair.far_handler.calls) == sent + 1)


async def test_a_full_buffer_blocks_senders_on_other_threads(pair: Pair) -> None:
    pair.far_handler.answer = silent
    body = bytes(64 * KIB)
    most = 0

    def send() -> None:
        nonlocal most
        for _ in range(200):
            pair.near.notify("actor", "method", body)
            most = max(most, pair.near.queued_bytes)

    await asyncio.to_thread(send)
    await until(lambda: len(pair.far_handler.calls) == 200)
    assert most < LIMITS.send_buffer + 2 * len(body)


async def test_two_threads_that_flood_each_other_get_on(pair: Pair) -> None:
    body = bytes(32 * KIB)

    def flood(channel: Channel) -> list[threading.Event]:
        events = [threading.Event() for _ in range(60)]
        for event in events:
            channel.call("actor", "method", body, lambda reply, event=event: event.set())
        return events

    floods = await asyncio.gather(asyncio.to_thread(flood, pair.near), asyncio.to_thread(flood, pair.far))
    await until(lambda: all(event.is_set() for events in floods for event in events))
