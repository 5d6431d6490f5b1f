"""Channels whose connections are cut: nothing lost, nothing twice, order kept; and peers that do not come back."""

import asyncio
import gc
import os
import random
import signal
import time

import pytest
from aiohttp import web

from limelight.transport.address import ProcessAddress
from limelight.transport.dialler import Dial
from limelight.transport.endpoint import Endpoint
from limelight.transport.error import ConnectError, PeerLostError
from limelight.transport.limits import TransportLimits
from tests.waiting import until


@pytest.mark.parametrize("seed", range(4))
async def test_calls_survive_cuts_at_random_points(world, recorder, seed) -> None:
    chance = random.Random(seed)
    near, handler = recorder(), recorder()
    server = await world.endpoint("server", handler)
    client = await world.endpoint("client", near)
    cutter = await world.cutter(server.address)
    channel = await client.connect(cutter.address)
    replies: list[bytes] = []
    sent = 0
    for _ in range(30):
        cutter.bytes_until_cut = chance.choice([None, 1, chance.randrange(1, 200_000)])
        for _ in range(chance.randrange(1, 60)):
            body = b"%d " % sent + bytes(chance.choice([0, 10, 5000]))
            channel.call("actor", "method", body, lambda reply: replies.append(reply.body))
            handler.connected[0].notify("actor", "back", body)
            sent += 1
        await asyncio.sleep(chance.random() * 0.02)
        if chance.random() < 0.3:
            cutter.cut()
    cutter.bytes_until_cut = None
    await until(lambda: len(replies) == sent)
    assert [int(body.split()[0]) for body in replies] == list(range(sent))
    assert [int(call.body.split()[0]) for call in handler.calls] == list(range(sent))
    await until(lambda: len(near.calls) == sent)
    assert [int(call.body.split()[0]) for call in near.calls] == list(range(sent))
    assert cutter.accepted > 3, "the test cut nothing"
    assert not handler.lost
    await client.close()
    gc.collect()  # aiohttp warns of connections that nobody has closed, which fails the test


def drop_the_next_upgrade(server, monkeypatch) -> list[None]:
    """Have the server's connection end when the next upgrade has arrived and its challenge is used up."""
    listener, dropped = server._listener, []
    upgrade = listener._upgrade

    async def drop(request, connection):
        if dropped:
            return await upgrade(request, connection)
        dropped.append(None)
        request.transport.abort()
        return web.Response()

    monkeypatch.setattr(listener, "_upgrade", drop)
    return dropped


async def test_a_channel_survives_a_cut_between_the_upgrade_and_the_welcome(world, recorder, monkeypatch) -> None:
    server = await world.endpoint("server", recorder())
    client = await world.endpoint("client")
    cutter = await world.cutter(server.address)
    channel = await client.connect(cutter.address)
    dropped = drop_the_next_upgrade(server, monkeypatch)
    cutter.cut()
    assert await channel.request("actor", "method", b"again", timeout=5) == b"again"
    assert dropped
    assert channel.error is None


async def test_a_first_dial_survives_a_cut_between_the_upgrade_and_the_welcome(world, recorder, monkeypatch) -> None:
    server = await world.endpoint("server", recorder())
    client = await world.endpoint("client")
    dropped = drop_the_next_upgrade(server, monkeypatch)
    channel = await client.connect(server.address)
    assert await channel.request("actor", "method", b"here", timeout=5) == b"here"
    assert dropped


async def test_who_is_slow_to_answer_a_challenge_gets_another(world, recorder, monkeypatch) -> None:
    """A busy machine can hold up a dialler until its connection is dropped, which aiohttp then makes anew."""
    server = await world.endpoint("server", recorder())
    client = await world.endpoint("client")
    strangers = []
    give = server._listener._give_challenge

    def give_and_drop(request, connection):
        strangers.append(connection)
        answer = give(request, connection)
        if len(strangers) == 1:
            asyncio.get_running_loop().call_later(0.01, connection.expel)
        return answer

    upgrade = Dial.upgrade

    async def late(dial, hello):
        if len(strangers) == 1:
            await until(lambda: strangers[0].transport is None)
        return await upgrade(dial, hello)

    monkeypatch.setattr(server._listener, "_give_challenge", give_and_drop)
    monkeypatch.setattr(Dial, "upgrade", late)
    channel = await client.connect(server.address)
    assert await channel.request("actor", "method", b"late", timeout=5) == b"late"
    assert len(strangers) == 2


async def test_a_full_send_buffer_survives_a_cut(world, recorder) -> None:
    handler = recorder()
    limits = TransportLimits(send_buffer=64 * 1024, grace=5.0)
    server = await world.endpoint("server", handler, limits=limits)
    client = await world.endpoint("client", limits=limits)
    cutter = await world.cutter(server.address)
    channel = await client.connect(cutter.address)
    most = 0

    def send() -> None:
        nonlocal most
        for number in range(2000):
            channel.notify("actor", "method", b"%d " % number + bytes(1000))
            most = max(most, channel.queued_bytes)

    sending = asyncio.create_task(asyncio.to_thread(send))
    for count in (200, 700, 1500):
        await until(lambda count=count: len(handler.calls) >= count)
        cutter.cut()
    await sending
    await until(lambda: len(handler.calls) == 2000)
    assert [int(call.body.split()[0]) for call in handler.calls] == list(range(2000))
    assert most < 2 * limits.send_buffer


async def test_a_connection_that_falls_silent_is_dialled_again(world, recorder) -> None:
    limits = TransportLimits(grace=5.0, heartbeat=0.05, silence_local=0.3)
    server = await world.endpoint("server", recorder(), limits=limits)
    client = await world.endpoint("client", limits=limits)
    cutter = await world.cutter(server.address)
    channel = await client.connect(cutter.address)
    cutter.stall()
    pending = asyncio.create_task(channel.request("actor", "method", b"held up", timeout=10))
    await until(lambda: cutter.accepted >= 2)
    cutter._flowing.set()
    assert await pending == b"held up"


async def test_an_idle_connection_stays(world, recorder) -> None:
    limits = TransportLimits(heartbeat=0.02, silence_local=0.2)
    server = await world.endpoint("server", recorder(), limits=limits)
    client = await world.endpoint("client", limits=limits)
    cutter = await world.cutter(server.address)
    channel = await client.connect(cutter.address)
    await asyncio.sleep(0.6)  # three times as long as silence is allowed to last
    assert cutter.accepted == 1
    assert await channel.request("actor", "method", b"", timeout=5) == b""


async def test_past_the_grace_period_both_sides_declare_the_peer_lost(world, recorder) -> None:
    near, far = recorder(), recorder()
    limits = TransportLimits(grace=0.3)
    server = await world.endpoint("server", far, limits=limits)
    # Without sockets of their own nobody can see at once that the other is dead.
    client = await world.endpoint("client", near, limits=limits, unix_path="")
    cutter = await world.cutter(server.address)
    channel = await client.connect(cutter.address)
    far.answers = False
    ends: list[object] = []
    channel.call("actor", "method", b"", ends.append)
    await until(lambda: far.calls)
    cutter.refusing = True
    start = time.monotonic()
    cutter.cut()
    await until(lambda: near.lost and far.lost)
    assert time.monotonic() - start >= 0.25
    assert isinstance(near.lost[0][1], PeerLostError)
    assert "could not be reached for 0.3 s" in str(near.lost[0][1])
    assert "has not come back within 0.3 s" in str(far.lost[0][1])
    assert ends == [near.lost[0][1]], "pending calls fail at once"
    assert client.channel("server") is None
    cutter.refusing = False
    far.answers = True
    assert await (await client.connect(cutter.address)).request("actor", "method", b"new", timeout=5) == b"new"


async def test_a_killed_peer_is_lost_long_before_the_grace_period_ends(world, recorder) -> None:
    handler = recorder()
    limits = TransportLimits(grace=60.0)
    parent = await world.endpoint("parent", handler, limits=limits)
    pid = os.fork()
    if pid == 0:
        _child(parent.address, str(world.folder / "child"))
    try:
        await until(lambda: handler.connected)
    finally:
        _kill(pid)
    await until(lambda: handler.lost, seconds=5)
    assert "nobody listens on its socket" in str(handler.lost[0][1])
    (world.folder / "child").unlink()


async def test_a_killed_peer_that_was_dialled_is_lost_at_once_too(world, recorder) -> None:
    handler, parent_handler = recorder(), recorder()
    limits = TransportLimits(grace=60.0)
    parent = await world.endpoint("parent", parent_handler, limits=limits)
    pid = os.fork()
    if pid == 0:
        _child(parent.address, str(world.folder / "child"))
    try:
        await until(lambda: parent_handler.connected)
        other = await world.endpoint("other", handler, limits=limits)
        await other.connect(parent_handler.connected[0].peer)
    finally:
        _kill(pid)
    await until(lambda: handler.lost, seconds=5)
    assert "Nobody listens there" in str(handler.lost[0][1])
    with pytest.raises(ConnectError, match="Nobody listens there"):
        await other.connect(parent_handler.connected[0].peer)
    (world.folder / "child").unlink()


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _child(parent: ProcessAddress, path: str) -> None:
    """A process that connects to its parent and waits to be killed."""
    import uvloop

    class Silent:
        def __getattr__(self, name: str):
            return lambda *args: None

    async def main() -> None:
        endpoint = Endpoint(
            process_id="child", host_id="here", token=bytes(range(32)), unix_path=path, info={}, handler=Silent()
        )
        await endpoint.start()
        await endpoint.connect(parent)
        await asyncio.Event().wait()

    try:
        asyncio.set_event_loop(None)
        asyncio._set_running_loop(None)
        uvloop.run(main())
    finally:
        os._exit(1)


async def test_another_process_at_the_same_address_is_no_continuation(world, recorder) -> None:
    near = recorder()
    limits = TransportLimits(grace=5.0)
    server = await world.endpoint("server", limits=limits)
    client = await world.endpoint("client", near, limits=limits)
    cutter = await world.cutter(server.address)
    await client.connect(cutter.address)
    successor = await world.endpoint("successor", limits=limits)
    cutter.target = successor.address
    cutter.cut()
    await until(lambda: near.lost, seconds=2)
    assert "process successor answers" in str(near.lost[0][1])


async def test_a_peer_without_memory_of_the_channel_is_no_continuation(world, recorder) -> None:
    near, handler = recorder(), recorder()
    server = await world.endpoint("server", handler)
    client = await world.endpoint("client", near)
    cutter = await world.cutter(server.address)
    old = await client.connect(cutter.address)
    same_id = await world.endpoint("server", unix_path=str(world.folder / "second"))
    cutter.target = same_id.address
    cutter.cut()
    await until(lambda: near.lost, seconds=2)
    assert "does not know the channel" in str(near.lost[0][1])
    new = await client.connect(cutter.address)
    assert new is not old
    assert await new.request("actor", "method", b"new", timeout=5) == b"new"
