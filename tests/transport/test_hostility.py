"""Strangers and broken peers: a clear refusal, never a crash, a hang or unbounded memory."""

import asyncio
import base64
import contextlib
import random
import socket

import pytest
import trustme
from aiohttp import ClientSession, UnixConnector
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.transport.address import ProcessAddress
from limelight.transport.auth import Challenge, ChallengeBook, sign
from limelight.transport.dialler import Dial
from limelight.transport.error import AuthenticationError, ConnectError, PeerClosedError, PeerLostError
from limelight.transport.limits import TransportLimits
from limelight.transport.protocol import Call, Frame, Hello, encode
from limelight.transport.tls import TlsConfig

VALID = encode(Frame(1, 0, [Call(1, "actor", "method", b"body"), Call(0, "actor", "method", b"")]))


async def raw(address: ProcessAddress, data: bytes) -> bytes:
    """Send bytes, return the answer until the server closes or stops talking."""
    reader, writer = await asyncio.open_unix_connection(address.unix)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(4096), timeout=10)
        return b""
    finally:
        writer.transport.abort()


async def works(world, server) -> None:
    """A peer is served as ever."""
    client = await world.endpoint(f"client{random.randrange(10**9)}")
    channel = await client.connect(server.address)
    assert await channel.request("actor", "method", b"still here", timeout=5) == b"still here"


@pytest.mark.parametrize("seed", range(3))
async def test_noise_before_authentication_does_no_harm(world, seed) -> None:
    chance = random.Random(seed)
    server = await world.endpoint("server", limits=TransportLimits(handshake=0.2))
    request = b"GET /channel HTTP/1.1\r\nHost: limelight\r\nLimelight-Version: 1\r\nLimelight-Process: x\r\n\r\n"
    for _ in range(30):
        data = bytearray(chance.choice([request, chance.randbytes(200)]))
        for _ in range(chance.randrange(8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        answer = await raw(server.address, bytes(data))
        assert b"101" not in answer[:20]
    await works(world, server)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /channel HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"403"),
        ("GET /channel HTTP/1.1\r\nHost: limelight\r\nOrigin: http://evil.example\r\n\r\n", b"403"),
        ("POST /channel HTTP/1.1\r\nHost: limelight\r\nContent-Length: 0\r\n\r\n", b"405"),
        ("GET /secrets HTTP/1.1\r\nHost: limelight\r\n\r\n", b"404"),
        ("GET /channel HTTP/1.1\r\nHost: limelight\r\nLimelight-Version: 99\r\n\r\n", b"400"),
        ("GET /channel HTTP/1.1\r\nHost: limelight\r\nLimelight-Version: 1\r\n\r\n", b"400"),
        ("GET /channel HTTP/1.1\r\nHost: limelight\r\nLimelight-Proof: 00\r\n\r\n", b"401"),
        ("GET /channel HTTP/1.1\r\nHost: limelight\r\nLimelight-Process: " + "x" * 20_000 + "\r\n\r\n", b"400"),
    ],
)
async def test_requests_that_are_not_ours_are_refused(world, request_text, status) -> None:
    server = await world.endpoint("server")
    assert status in (await raw(server.address, request_text.encode()))[:20]


async def test_whoever_does_not_authenticate_in_time_is_cut_off(world) -> None:
    server = await world.endpoint("server", limits=TransportLimits(handshake=0.1))
    assert await raw(server.address, b"GET /channel HT") == b""
    await works(world, server)


async def test_connections_that_wait_to_authenticate_are_few(world, until) -> None:
    server = await world.endpoint("server", limits=TransportLimits(handshake=0.5, handshakes=8))
    strangers = []
    for _ in range(40):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.setblocking(False)
        stranger.connect(server.address.unix)
        strangers.append(stranger)
    await until(lambda: len(server._listener._strangers) == 8)
    refused = 0
    loop = asyncio.get_running_loop()
    for stranger in strangers[8:]:
        refused += await asyncio.wait_for(loop.sock_recv(stranger, 1), 5) == b""
    assert refused == 32
    await until(lambda: not server._listener._strangers)
    for stranger in strangers:
        stranger.close()
    await works(world, server)


async def test_a_proof_cannot_be_used_twice(world, token) -> None:
    server = await world.endpoint("server")
    hello = Hello(1, "", ProcessAddress("thief", "here"), 1, 0, False, 0, {})
    text = base64.b64encode(encode(hello)).decode()
    async with ClientSession(connector=UnixConnector(server.address.unix)) as session:
        headers = {
            "Host": "limelight",
            "Limelight-Version": "1",
            "Limelight-Process": "thief",
            "Limelight-Nonce": "0" * 32,
        }
        async with session.get("http://x/channel", headers=headers) as response:
            nonce = response.headers["Limelight-Nonce"]
        challenge = Challenge("thief", "server", "0" * 32, nonce)
        proof = {
            "Host": "limelight",
            "Limelight-Nonce": nonce,
            "Limelight-Hello": text,
            "Limelight-Proof": challenge.client_proof(token, text),
        }
        async with session.get("http://x/channel", headers=proof) as response:
            assert response.status >= 400  # authentic, but no upgrade
        async with session.get("http://x/channel", headers=proof) as response:
            assert response.status == 401
            assert "unknown or too old" in response.headers["Limelight-Reason"]


def test_a_proof_fits_one_handshake_only(token) -> None:
    proof = Challenge("a", "b", "n1", "n2").client_proof(token, "hello")
    for other in (
        Challenge("x", "b", "n1", "n2"),
        Challenge("a", "x", "n1", "n2"),
        Challenge("a", "b", "x", "n2"),
        Challenge("a", "b", "n1", "x"),
        Challenge("a", "b", "n1", "n2", version=2),
    ):
        assert other.client_proof(token, "hello") != proof
    challenge = Challenge("a", "b", "n1", "n2")
    assert challenge.client_proof(token, "x") != proof
    assert challenge.client_proof(b"another token", "hello") != proof
    assert len({proof, challenge.server_proof(token), challenge.bulk_key(token).hex()}) == 3


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_no_two_lists_of_fields_sign_alike(left, right) -> None:
    assert (sign(b"key", *left) == sign(b"key", *right)) == (left == right)


def test_challenges_are_used_once_in_time_and_are_bounded() -> None:
    book = ChallengeBook(most=3, lifetime=5.0)
    for number in range(5):
        book.give(Challenge("c", "s", "n", f"nonce {number}"), now=float(number))
    assert book.take("nonce 0", now=4.0) is None
    assert book.take("nonce 4", now=5.0) is not None
    assert book.take("nonce 4", now=5.0) is None
    assert book.take("nonce 3", now=8.0) is None


async def evil_peer(server, token: bytes, frames: list[bytes]) -> None:
    """Authenticate, then send these websocket messages."""
    limits = TransportLimits()
    address = server.address
    async with Dial("evil", address, f"unix:{address.unix}", token, limits, None) as dial:
        await dial.challenge()
        hello = Hello(1, "", ProcessAddress("evil", "elsewhere"), 1, 0, False, 0, {})
        link, _ = await dial.upgrade(hello)
    for frame in frames:
        link.write(frame)
    received: list[bytes] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await link.run(received.append, lambda: None)
    await link.close()


@pytest.mark.parametrize("seed", range(4))
async def test_mutated_frames_after_authentication_end_that_channel_only(world, recorder, until, token, seed) -> None:
    chance = random.Random(seed)
    for round_number in range(6):
        handler = recorder()
        server = await world.endpoint(f"server{round_number}", handler, limits=TransportLimits(grace=0.05))
        frames = []
        for _ in range(3):
            data = bytearray(VALID)
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            frames.append(bytes(data[: chance.randrange(1, len(data) + 1)]))
        await evil_peer(server, token, frames)
        await until(lambda server=server: not server.channels)
        assert all(isinstance(error, PeerLostError | PeerClosedError) for _, error in handler.lost)
        await works(world, server)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\xc1", "no frame"),
        (encode(Frame(7, 0, [Call(1, "a", "m", b"")])), "Messages are missing"),
        (encode(Frame(1, 99, [])), "only 0 were ever sent"),
        (encode([1, 0, [[3, 1, "a", "m"]]]), "no frame"),
        (encode([1, 0, [[1, 1]]]), "no frame"),
        (b"\x93\x01\x00\x91\x95\x03\x01\xa1\xff\xa1m\xc4\x00", "no frame"),  # a name that is not UTF-8
        (b"\x94\x01\x00\x90" + b"\x91" * 100_000, "no frame"),  # nested without end
        (b"\x93\x01\x00\xdd\xff\xff\xff\xff", "no frame"),  # a list of four thousand million messages
    ],
)
async def test_protocol_errors_are_named(world, recorder, until, token, frame, reason) -> None:
    handler = recorder()
    server = await world.endpoint("server", handler)
    await evil_peer(server, token, [frame])
    await until(lambda: handler.lost)
    assert "broke the protocol" in str(handler.lost[0][1])
    assert reason in str(handler.lost[0][1])


async def test_a_message_over_the_limit_cuts_the_connection(world, recorder, until, token) -> None:
    handler = recorder()
    small = TransportLimits(message=10_000, frame=10_000, grace=0.05)
    server = await world.endpoint("server", handler, limits=small)
    await evil_peer(server, token, [encode(Frame(1, 0, [Call(1, "a", "m", bytes(3_000_000))]))])
    await until(lambda: handler.lost)
    assert not handler.calls


def tls(folder, authority: trustme.CA, name: str) -> TlsConfig:
    certificate = authority.issue_cert("127.0.0.1")
    paths = [folder / f"{name}-{part}.pem" for part in ("authority", "certificate", "key")]
    authority.cert_pem.write_to_path(str(paths[0]))
    certificate.cert_chain_pems[0].write_to_path(str(paths[1]))
    certificate.private_key_pem.write_to_path(str(paths[2]))
    return TlsConfig(certificate=str(paths[1]), key=str(paths[2]), authority=str(paths[0]))


async def test_certificates_of_another_authority_are_refused(world, tmp_path) -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    server = await world.endpoint("server", unix_path="", tcp="127.0.0.1:0", tls=tls(tmp_path, ours, "ours"))
    friend = await world.endpoint("friend", tls=tls(tmp_path, ours, "friend"))
    stranger = await world.endpoint("stranger", tls=tls(tmp_path, theirs, "theirs"))
    plain = await world.endpoint("plain")
    assert await friend.connect(server.address)
    with pytest.raises(ConnectError, match="certificate verify failed"):
        await stranger.connect(server.address)
    with pytest.raises(ConnectError):
        await plain.connect(server.address)
    assert list(server.channels) == ["friend"]


async def test_the_token_never_crosses_the_wire(world, tmp_path, token) -> None:
    """Everything a man in the middle sees of a handshake and a call."""
    server = await world.endpoint("server")
    cutter = await world.cutter(server.address)
    seen = bytearray()
    pump = cutter._pump

    class Tap:
        def __init__(self, reader) -> None:
            self.reader = reader

        async def read(self, size: int) -> bytes:
            data = await self.reader.read(size)
            seen.extend(data)
            return data

    cutter._pump = lambda reader, writer: pump(Tap(reader), writer)
    client = await world.endpoint("client")
    channel = await client.connect(cutter.address)
    await channel.request("actor", "method", b"hello", timeout=5)
    assert b"Limelight-Proof" in seen
    assert token not in seen
    assert token.hex().encode() not in seen
    assert base64.b64encode(token) not in seen


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=100))
def test_errors_of_authentication_hold_no_secret(token: bytes) -> None:
    error = AuthenticationError("no")
    assert error.final
    assert token == b"" or token.hex() not in str(error)
