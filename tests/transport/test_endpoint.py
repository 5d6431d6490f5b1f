"""Endpoints: one channel to each peer, whoever dials, and errors that say what to do."""

import asyncio
import socket
import time

import pytest

from limelight.transport.address import ProcessAddress
from limelight.transport.admission import Admission, Existing, admit
from limelight.transport.endpoint import Endpoint
from limelight.transport.error import (
    AddressInUseError,
    AuthenticationError,
    ConnectError,
    PeerClosedError,
    VersionMismatchError,
)
from limelight.transport.limits import KIB, TransportLimits
from limelight.transport.protocol import Hello
from tests.waiting import until


async def test_concurrent_connects_share_one_dial(world, recorder) -> None:
    handler = recorder()
    server = await world.endpoint("server", handler)
    client = await world.endpoint("client")
    channels = await asyncio.gather(*[client.connect(server.address) for _ in range(20)])
    assert len(set(map(id, channels))) == 1
    assert client.channel("server") is channels[0]
    assert dict(client.channels) == {"server": channels[0]}
    assert len(handler.connected) == 1


@pytest.mark.parametrize("stagger", range(12))
async def test_a_dial_from_both_sides_makes_one_channel(world, recorder, stagger) -> None:
    handlers = recorder(), recorder()
    left = await world.endpoint("a", handlers[0])
    right = await world.endpoint("b", handlers[1])

    async def dial(near: Endpoint, far: Endpoint, turns: int) -> bytes:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await (await near.connect(far.address)).request("actor", "method", b"x", timeout=5)

    assert await asyncio.gather(dial(left, right, stagger), dial(right, left, 12 - stagger)) == [b"x", b"x"]
    assert len(handlers[0].connected) == len(handlers[1].connected) == 1
    assert not handlers[0].lost
    assert not handlers[1].lost


async def test_many_processes_dial_each_other_at_once(world, recorder) -> None:
    handlers = [recorder() for _ in range(6)]
    ends = [await world.endpoint(f"p{i}", handler) for i, handler in enumerate(handlers)]
    await asyncio.gather(*[a.connect(b.address) for a in ends for b in ends if a is not b])
    assert all(len(handler.connected) == 5 and not handler.lost for handler in handlers)


async def test_a_process_whose_name_is_not_known_can_be_dialled(world) -> None:
    server = await world.endpoint("server", tcp="127.0.0.1:0")
    client = await world.endpoint("client")
    channel = await client.connect(ProcessAddress("", "", tcp=server.address.tcp))
    assert channel.peer == server.address
    assert await client.connect(server.address) is channel
    assert await client.connect(ProcessAddress("", "", tcp=server.address.tcp)) is channel


async def test_connecting_to_nobody_says_so(world, tmp_path) -> None:
    client = await world.endpoint("client")
    with pytest.raises(ConnectError, match="Nobody listens there"):
        await client.connect(ProcessAddress("gone", "here", str(tmp_path / "gone")))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectError, match=rf"127\.0\.0\.1:{port}.*Nobody listens there"):
        await client.connect(ProcessAddress("gone", "there", tcp=f"127.0.0.1:{port}"))
    with pytest.raises(ConnectError, match=r"no address that this host can reach"):
        await client.connect(ProcessAddress("gone", "there", str(tmp_path / "gone")))
    with pytest.raises(ConnectError, match="no channel to itself"):
        await client.connect(client.address)


async def test_connecting_to_a_silent_process_times_out(world, tmp_path) -> None:
    client = await world.endpoint("client", limits=TransportLimits(connect=0.2))
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute"))
        mute.listen()
        with pytest.raises(ConnectError, match=r"has not answered within 0.2 s"):
            await client.connect(ProcessAddress("mute", "here", str(tmp_path / "mute")))
    (tmp_path / "mute").unlink()


async def test_another_token_is_refused_by_both_sides(world) -> None:
    server = await world.endpoint("server")
    stranger = await world.endpoint("stranger", token=b"another")
    with pytest.raises(AuthenticationError, match="does not hold this cluster's token"):
        await stranger.connect(server.address)
    with pytest.raises(AuthenticationError):
        await server.connect(stranger.address)
    assert not server.channels


async def test_the_wrong_process_at_an_address_is_refused(world) -> None:
    server = await world.endpoint("server")
    client = await world.endpoint("client")
    with pytest.raises(ConnectError, match="Process expected is gone: process server answers"):
        await client.connect(ProcessAddress("expected", "here", server.address.unix))


async def test_other_versions_are_refused_with_both_named(world, monkeypatch) -> None:
    server = await world.endpoint("server")
    client = await world.endpoint("client")
    monkeypatch.setattr("limelight.transport.listener.PROTOCOL_VERSION", 7)
    with pytest.raises(VersionMismatchError, match="speaks version 7 of the protocol, this one version 1"):
        await client.connect(server.address)


async def test_a_taken_address_is_reported(world, tmp_path) -> None:
    server = await world.endpoint("server", tcp="127.0.0.1:0")
    port = server.address.tcp.rpartition(":")[2]
    with pytest.raises(AddressInUseError, match=rf"Port {port} on 127.0.0.1 is taken; `ss -ltnp"):
        await world.endpoint("second", tcp=server.address.tcp)
    with pytest.raises(AddressInUseError, match="listens on the Unix socket"):
        await world.endpoint("third", unix_path=server.address.unix)
    assert not (tmp_path / "second").exists()


async def test_a_socket_that_a_dead_process_left_is_replaced(world, tmp_path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "server"))
    server = await world.endpoint("server")
    client = await world.endpoint("client")
    assert await client.connect(server.address)
    assert (tmp_path / "server").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("tcp", ["127.0.0.1", "nowhere:", ":1", "127.0.0.1:70000", "0.0.0.0:0"])
async def test_addresses_that_cannot_be_listened_on_are_refused(world, tcp) -> None:
    with pytest.raises(ValueError, match=r"Write host:port|name one address"):
        await world.endpoint("server", tcp=tcp)


async def test_closing_tells_the_peers(world, recorder) -> None:
    near = recorder()
    server = await world.endpoint("server")
    client = await world.endpoint("client", near)
    await client.connect(server.address)
    await server.close()
    await until(lambda: near.lost)
    assert isinstance(near.lost[0][1], PeerClosedError)
    assert not client.channels
    with pytest.raises(ConnectError):
        await client.connect(server.address)
    with pytest.raises(ConnectError, match="closed"):
        await server.connect(client.address)


async def test_a_slow_peer_is_given_up_rather_than_let_memory_grow(world, recorder) -> None:
    near = recorder()
    limits = TransportLimits(send_buffer=64 * 1024, send_buffer_hard=1024 * 1024, grace=30.0)
    server = await world.endpoint("server", limits=limits)
    client = await world.endpoint("client", near, limits=limits)
    cutter = await world.cutter(server.address)
    channel = await client.connect(cutter.address)
    cutter.stall()
    for _ in range(40):
        channel.reply(1, bytes(64 * 1024))
        await asyncio.sleep(0)
    await until(lambda: near.lost)
    assert "does not take what it is sent" in str(near.lost[0][1])


HELLO = Hello(1, "", ProcessAddress("peer", "here"), 5, 0, False, 0, {})
RESUME = Hello(1, "", ProcessAddress("peer", "here"), 5, 0, True, 0, {})


@pytest.mark.parametrize(
    ("hello", "own", "existing", "dialling", "expected"),
    [
        (HELLO, "own", None, False, Admission.NEW),
        (HELLO, "own", None, True, Admission.CROSSED),  # own < peer: our dial counts
        (HELLO, "zoo", None, True, Admission.NEW),
        (HELLO, "own", Existing(4, dialled_by_peer=True), False, Admission.REPLACE),
        (HELLO, "own", Existing(6, dialled_by_peer=True), False, Admission.STALE),
        (HELLO, "own", Existing(9, dialled_by_peer=False), False, Admission.CROSSED),
        (RESUME, "own", Existing(5, dialled_by_peer=True), False, Admission.RESUME),
        (RESUME, "own", Existing(4, dialled_by_peer=True), False, Admission.UNKNOWN),
        (RESUME, "own", Existing(5, dialled_by_peer=False), False, Admission.UNKNOWN),
        (RESUME, "own", None, False, Admission.UNKNOWN),
    ],
)
def test_admission(hello, own, existing, dialling, expected) -> None:
    verdict = admit(hello, own, existing, dialling=dialling)
    assert verdict is expected
    assert verdict.refused == bool(verdict.reason)


def test_a_new_channel_replaces_the_one_that_its_dialler_has_given_up() -> None:
    hello = Hello(1, "", ProcessAddress("peer", "here"), 5, 0, False, 9, {})
    assert admit(hello, "own", Existing(9, dialled_by_peer=False), dialling=False) is Admission.REPLACE


async def test_closing_waits_for_a_peer_as_long_as_it_takes_something(world, recorder) -> None:
    taken = []

    class Slow(recorder):
        def on_call(self, channel, call) -> None:
            taken.append(len(call.body))
            time.sleep(0.005)

    server = await world.endpoint("server", Slow())
    client = await world.endpoint("client", limits=TransportLimits(close=0.1, frame=64 * KIB))
    channel = await client.connect(server.address)
    for _ in range(100):
        channel.notify("actor", "method", bytes(64 * KIB))
    await channel.close()
    await until(lambda: len(taken) == 100)
