"""One port for all processes of a host."""

import asyncio
import contextlib
import socket

import pytest

from limelight.transport.address import ProcessAddress
from limelight.transport.endpoint import inlet_beside
from limelight.transport.error import ConnectError
from limelight.transport.gate import dial, preamble


@pytest.fixture
async def host(world, tmp_path):
    """The owner of a port, and a process beside it that has none."""
    owner = await world.endpoint(
        "owner", tcp="127.0.0.1:0", unix_path="", inlet_of=lambda name: inlet_beside(str(tmp_path / name))
    )
    worker = await world.endpoint("worker", unix_path=str(tmp_path / "worker"), gate=owner.address.tcp)
    return owner, worker


def seen_from_elsewhere(endpoint) -> ProcessAddress:
    return ProcessAddress(endpoint.address.process_id, "elsewhere", tcp=endpoint.address.tcp)


async def test_processes_of_a_host_share_its_port(world, host):
    owner, worker = host
    client = await world.endpoint("client")
    assert worker.address.tcp == owner.address.tcp
    for server in (owner, worker):
        channel = await client.connect(seen_from_elsewhere(server))
        assert channel.peer.process_id == server.address.process_id


async def test_a_process_that_has_ended_is_known_to_be_gone_at_once(world, host):
    _, worker = host
    client = await world.endpoint("client")
    await worker.close()
    with pytest.raises(ConnectError, match="worker is gone: process owner answers") as caught:
        await client.connect(seen_from_elsewhere(worker))
    assert caught.value.final


async def test_many_connections_at_once_all_arrive(world, host):
    """More than the kernel queues for a process that is slow to take them."""
    _, worker = host
    clients = [await world.endpoint(f"client{i}") for i in range(50)]
    channels = await asyncio.gather(*[client.connect(seen_from_elsewhere(worker)) for client in clients])
    assert len({id(channel) for channel in channels}) == 50


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"limelight?", preamble("x")[:-1] + b"?"])
async def test_who_does_not_begin_with_a_name_is_cut_off(host, said):
    owner, _ = host
    name, _, port = owner.address.tcp.rpartition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    writer.write(said)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_name_may_come_in_pieces(host):
    owner, _ = host
    name, _, port = owner.address.tcp.rpartition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    for byte in preamble("owner"):
        writer.write(bytes([byte]))
        await writer.drain()
    writer.write(b"GET /nowhere HTTP/1.1\r\nHost: limelight\r\n\r\n")
    assert b"404" in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_dialling_a_host_that_has_no_such_name_fails():
    with pytest.raises(socket.gaierror):
        await dial("no-such-host.invalid:1", "")
