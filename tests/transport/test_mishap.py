"""What goes wrong inside a process while its channels come and go: every channel still has one life and one end."""

import asyncio
import contextlib
import errno
import socket

import pytest

from limelight.transport import endpoint, gate
from limelight.transport.address import ProcessAddress
from limelight.transport.bulk_client import BulkClient
from limelight.transport.channel import Channel
from limelight.transport.dialler import Dial
from limelight.transport.error import ConnectError, DeadlineExceededError, PeerLostError, TransportError
from limelight.transport.gate import preamble
from limelight.transport.limits import TransportLimits
from limelight.transport.protocol import Call
from tests.waiting import until


async def test_a_channel_ends_although_no_descriptor_is_left_to_ask_whether_its_peer_lives(
    world, recorder, monkeypatch
) -> None:
    limits = TransportLimits(grace=0.3, heartbeat=0.1)
    near = recorder()
    near.answers = False
    server = await world.endpoint("server", near, limits=limits)
    client = await world.endpoint("client", limits=limits)
    cutter = await world.cutter(server.address)
    await client.connect(cutter.address)
    ends: list[object] = []
    near.connected[0].call("actor", "method", b"", ends.append)

    def no_descriptor(_path: str) -> bool:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(endpoint, "is_listening", no_descriptor)
    cutter.refusing = True
    cutter.cut()
    await until(lambda: near.lost)
    assert isinstance(ends[-1], PeerLostError)
    assert not server.channels


async def test_a_channel_ends_where_dialling_again_fails_in_an_unexpected_way(world, recorder, monkeypatch) -> None:
    near = recorder()
    server = await world.endpoint("server")
    client = await world.endpoint("client", near)
    cutter = await world.cutter(server.address)
    await client.connect(cutter.address)

    async def defect(_self: Dial) -> None:
        raise LookupError("a defect")

    monkeypatch.setattr(Dial, "challenge", defect)
    cutter.cut()
    await until(lambda: near.lost)
    assert "a defect" in str(near.lost[0][1])
    assert not client.channels


async def test_nothing_arrives_after_the_end(world, recorder) -> None:
    """The first of several calls that came together makes the handler give the channel up."""
    near = recorder()
    server = await world.endpoint("server", near)
    client = await world.endpoint("client")
    arrived: list[str] = []

    def on_call(channel: Channel, call: Call) -> None:
        arrived.append(call.method)
        server.give_up(channel, "enough")

    near.on_call = on_call
    near.on_lost = lambda channel, error: arrived.append("lost")
    channel = await client.connect(server.address)
    for method in ("first", "second", "third"):
        channel.notify("actor", method, b"")
    await until(lambda: "lost" in arrived)
    assert arrived == ["first", "lost"]


async def test_a_request_ends_in_time_although_the_peer_takes_nothing(world) -> None:
    limits = TransportLimits(send_buffer=64 * 1024, grace=30.0)
    server = await world.endpoint("server", limits=limits)
    client = await world.endpoint("client", limits=limits)
    cutter = await world.cutter(server.address)
    channel = await client.connect(cutter.address)
    cutter.stall()
    channel.notify("actor", "method", bytes(128 * 1024))
    with pytest.raises(DeadlineExceededError):
        async with asyncio.timeout(5):
            await channel.request("actor", "method", b"", 0.05)


@pytest.mark.parametrize("dialler_fails", [False, True])
async def test_a_handler_that_fails_on_a_new_channel_leaves_a_whole_one(world, recorder, dialler_fails) -> None:
    near, far = recorder(), recorder()

    def fail(_channel: Channel) -> None:
        raise LookupError("a defect")

    (near if dialler_fails else far).on_connected = fail
    server = await world.endpoint("server", far)
    client = await world.endpoint("client", near)
    channel = await client.connect(server.address)
    assert await channel.request("actor", "method", b"here", 5) == b"here"


async def test_a_dial_by_name_and_one_by_address_make_one_channel(world, recorder) -> None:
    near, far = recorder(), recorder()
    server = await world.endpoint("server", far)
    client = await world.endpoint("client", near)
    nameless = ProcessAddress("", "here", server.address.unix)
    first, second = await asyncio.gather(client.connect(nameless), client.connect(server.address))
    assert first is second
    assert await first.request("actor", "method", b"here", 5) == b"here"
    assert not near.lost
    assert not far.lost


async def test_who_dials_when_the_endpoint_closes_hears_of_it(world, tmp_path) -> None:
    client = await world.endpoint("client")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "cutter-silent"))
        silent.listen()
        dial = asyncio.ensure_future(client.connect(ProcessAddress("silent", "here", str(tmp_path / "cutter-silent"))))
        await until(lambda: client._dials)
        await client.close()
        with pytest.raises(ConnectError, match="closing"):
            await dial


async def test_what_is_expected_of_many_who_come_at_once_is_done_for_all(world) -> None:
    """Many more than may wait to authenticate, and all have said what they should before the first is looked at."""
    owner = await world.endpoint("owner", tcp="127.0.0.1:0", unix_path="", limits=TransportLimits(handshakes=16))
    host, _, port = owner.address.tcp.rpartition(":")
    hello = preamble("owner", secure=False) + b"GET /nowhere HTTP/1.1\r\nHost: limelight\r\n\r\n"
    guests = []
    for _ in range(200):
        guest = socket.create_connection((host, int(port)))  # the kernel takes them; the loop does not run meanwhile
        guest.sendall(hello)
        guest.setblocking(False)
        guests.append(guest)
    loop = asyncio.get_running_loop()
    answers = await asyncio.wait_for(asyncio.gather(*[loop.sock_recv(guest, 64) for guest in guests]), 20)
    for guest in guests:
        guest.close()
    assert all(b"404" in answer for answer in answers)


async def test_an_address_in_numbers_waits_for_no_resolver(world) -> None:
    """Names that are slow to look up, one of the head's for example, must not hold up the way to other nodes."""

    owner = await world.endpoint("owner", tcp="127.0.0.1:0", unix_path="")
    host, port = gate.host_and_port(owner.address.tcp)
    looking = gate._look_up(host, port)
    with pytest.raises(StopIteration) as found:  # without a turn of the loop
        looking.send(None)
    assert found.value.value[0][4] == (host, port)


@pytest.mark.parametrize("name", ["a..b", "x" * 64])
async def test_what_can_be_no_name_of_a_host_is_said(world, name) -> None:
    client = await world.endpoint("client", tcp="127.0.0.1:0")
    with pytest.raises(ConnectError, match="Cannot connect to tcp:"):
        await client.connect(ProcessAddress("far", "elsewhere", tcp=f"{name}:1"))


class Store:
    """Everything is there, and the answer's end waits for the test."""

    def __init__(self) -> None:
        self.tag, self.size = "now", 1000
        self.opened = False
        self.go_on = asyncio.Event()

    async def open(self, _name: str) -> "Store":
        self.opened = True
        return self

    async def ready(self, _start: int, _stop: int) -> None:
        await self.go_on.wait()

    def view(self, start: int, stop: int) -> memoryview:
        return memoryview(bytes(stop - start))

    def checksum(self, _start: int, _stop: int) -> None: ...

    def release(self) -> None: ...


@pytest.mark.parametrize("end", ["the channel ends", "the client closes"])
async def test_no_idle_connection_is_kept_for_nothing(world, end) -> None:
    store = Store()
    server = await world.endpoint("server", bulk=store)
    near = await world.endpoint("client")
    client = BulkClient(near)
    fetch = asyncio.ensure_future(client.fetch(server.address, "object", 0, memoryview(bytearray(1000)), 1000))
    await until(lambda: store.opened)
    if end == "the client closes":
        await client.close()
    else:
        near.give_up(near.channel("server"), "its node is gone")
        client.forget("server")
    store.go_on.set()
    with contextlib.suppress(TransportError):
        await fetch
    assert not any(client._idle.values())
    await client.close()
