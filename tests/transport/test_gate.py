"""One port for all processes of a host."""

import asyncio
import contextlib
import gc
import socket
from pathlib import Path

import pytest
import trustme
from aiohttp.web_response import Response

from limelight.transport import gate
from limelight.transport.address import ProcessAddress
from limelight.transport.endpoint import inlet_beside
from limelight.transport.error import ConnectError
from limelight.transport.gate import dial, preamble
from limelight.transport.limits import TransportLimits
from limelight.transport.listener import Listener
from limelight.transport.stranger import Stranger
from limelight.transport.tls import TlsConfig
from tests.waiting import until


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


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"limelight?", preamble("x", secure=False)[:-1] + b"?"]
)
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
    for byte in preamble("owner", secure=False):
        writer.write(bytes([byte]))
        await writer.drain()
    writer.write(b"GET /nowhere HTTP/1.1\r\nHost: limelight\r\n\r\n")
    assert b"404" in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("moment", ["__init__", "connection_made"])
@pytest.mark.parametrize("name", ["owner", "worker"])
async def test_closing_waits_for_no_connection_that_comes_in_the_same_moment(host, monkeypatch, caplog, name, moment):
    """A node dials its head anew when that says goodbye: uvloop then drops what was accepted without a word."""
    [closed] = [process for process in host if process.address.process_id == name]
    closing: list[asyncio.Task[None]] = []
    original = getattr(Stranger, moment)

    def close_then(self, *arguments) -> None:
        original(self, *arguments)
        if not closing:  # its first step comes before whoever accepts the connection hears that it was made
            closing.append(asyncio.ensure_future(closed.close()))

    monkeypatch.setattr(Stranger, moment, close_then)
    with await dial(closed.address.tcp, name, secure=False) as connection:
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""
        await asyncio.wait_for(closing[0], 5)
    gc.collect()  # asyncio tells of a task's failure that nobody has looked at when the task is freed
    assert caplog.messages == []


async def test_a_flood_of_connections_leaves_the_loop_to_others(world):
    server = await world.endpoint("server", tcp="127.0.0.1:0")
    gate, address = server._listener._gate, ("127.0.0.1", int(server.address.tcp.rpartition(":")[2]))
    with contextlib.ExitStack() as flood:
        for _ in range(200):  # the loop has no turn meanwhile
            flood.enter_context(socket.create_connection(address))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(gate._tasks) <= 2 * 64
        deadline = asyncio.get_running_loop().time() + 5
        while len(gate._tasks) < 200:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)


async def test_closing_waits_a_bounded_time_for_a_request_that_is_being_answered(world, monkeypatch):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def answer(*_) -> Response:
        begun.set()
        await go_on.wait()
        return Response()

    monkeypatch.setattr(Listener, "_handle", answer)
    server = await world.endpoint("server", tcp="127.0.0.1:0", limits=TransportLimits(close=0.05))
    with await dial(server.address.tcp, "server", secure=False) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(begun.wait(), 5)
        await asyncio.wait_for(server.close(), 5)
        go_on.set()


async def test_dialling_a_host_that_has_no_such_name_fails():
    with pytest.raises(socket.gaierror):
        await dial("no-such-host.invalid:1", "", secure=False)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def tls_of(folder) -> TlsConfig:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    return TlsConfig(str(folder / "cert.pem"), str(folder / "key.pem"), str(folder / "ca.pem"))


async def connect_many(address: str, count: int, said: bytes) -> list[socket.socket]:
    loop = asyncio.get_running_loop()
    name, _, port = address.rpartition(":")
    made = []
    for _ in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        await loop.sock_connect(connection, (name, int(port)))
        await loop.sock_sendall(connection, said)
        made.append(connection)
    return made


async def ended(connection: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(connection, 4096):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"limelight/",
        *(preamble(name, secure=tls) for name in ("owner", "worker") for tls in (False, True)),
        preamble("worker", secure=True) + b"\x16\x03\x01\x02\x00\x01",
    ],
    ids=["nothing", "half a name", "owner", "owner, TLS", "worker", "worker, TLS", "half a hello of TLS"],
)
async def test_connections_that_go_no_further_are_few_and_keep_nobody_out(world, tmp_path, secure, said):
    limits = TransportLimits(handshake=60.0, handshakes=8)
    tls = tls_of(tmp_path) if secure else None
    settings = {"limits": limits, "tls": tls}
    owner = await world.endpoint(
        "owner", tcp="127.0.0.1:0", unix_path="", inlet_of=lambda name: inlet_beside(str(tmp_path / name)), **settings
    )
    worker = await world.endpoint("worker", unix_path=str(tmp_path / "worker"), gate=owner.address.tcp, **settings)
    client = await world.endpoint("client", tls=tls)
    before = descriptors()
    flood = await connect_many(owner.address.tcp, 50, said)
    for connection in flood[: 50 - 2 * limits.handshakes]:  # what waits at the gate, and what waits to authenticate
        assert await asyncio.wait_for(ended(connection), 5)
    assert descriptors() - before <= 50 + 2 * limits.handshakes
    for server in (owner, worker):
        assert await client.connect(seen_from_elsewhere(server))
    for connection in flood:
        connection.close()
    await until(lambda: not any((len(owner._listener._strangers), len(worker._listener._strangers))))
    await until(lambda: not any((owner._listener._gate._tasks, worker._listener._taking)))


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("to", ["owner", "worker"])
async def test_a_handshake_that_never_ends_is_ended(world, tmp_path, secure, to):
    settings = {"limits": TransportLimits(handshake=0.2), "tls": tls_of(tmp_path) if secure else None}
    owner = await world.endpoint(
        "owner", tcp="127.0.0.1:0", unix_path="", inlet_of=lambda name: inlet_beside(str(tmp_path / name)), **settings
    )
    await world.endpoint("worker", unix_path=str(tmp_path / "worker"), gate=owner.address.tcp, **settings)
    before = descriptors()
    for connection in await connect_many(owner.address.tcp, 3, preamble(to, secure=True) + b"\x16\x03\x01\x02\x00\x01"):
        assert await asyncio.wait_for(ended(connection), 5)
        connection.close()
    await until(lambda: descriptors() <= before)


@pytest.mark.parametrize(
    "name", ["../node", "/etc/passwd", "..", ".", "a/b", "a\0b", "x" * 64, "-" * 64, "n\xc3\xb6", " "]
)
async def test_a_name_is_no_path(world, tmp_path, name):
    """Whatever the name, it is the owner that answers."""
    asked = []

    def inlet_of(process_id: str) -> str:
        asked.append(process_id)
        return inlet_beside(str(tmp_path / process_id[:12])) if process_id.isalnum() and process_id.isascii() else ""

    owner = await world.endpoint("owner", tcp="127.0.0.1:0", unix_path="", inlet_of=inlet_of)
    [connection] = await connect_many(
        owner.address.tcp, 1, b"limelight/" + name.encode("latin-1").ljust(64, b"-") + b"\n"
    )
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, b"GET /nowhere HTTP/1.1\r\nHost: limelight\r\n\r\n")
    assert b"404" in await asyncio.wait_for(loop.sock_recv(connection, 100), 5)
    connection.close()


async def test_a_host_is_reached_at_whichever_of_its_addresses_answers_first(world, host, monkeypatch):
    """A name may stand for an address to which there is no way."""
    owner, _ = host
    with contextlib.ExitStack() as opened:
        silent = opened.enter_context(socket.create_server(("127.0.0.2", 0), backlog=0))
        silent_at = silent.getsockname()
        for _ in range(3):  # it takes so few that nobody is answered any more
            one = opened.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(silent_at)
        port = int(owner.address.tcp.rpartition(":")[2])

        async def both(_host, _port):
            kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
            return [(*kind, silent_at), (*kind, ("127.0.0.1", port))]

        monkeypatch.setattr(gate, "_look_up", both)
        connection = await asyncio.wait_for(dial("both:1", "owner", secure=False), 10)
        opened.callback(connection.close)
        assert connection.getpeername() == ("127.0.0.1", port)
