"""Strangers and broken peers: a clear refusal, never a crash, a hang or unbounded memory."""

import asyncio
import base64
import contextlib
import random
import socket

import pytest
from aiohttp import ClientSession, UnixConnector
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.transport.address import ProcessAddress
from limelight.transport.auth import Challenge, sign
from limelight.transport.dialler import Dial
from limelight.transport.error import AuthenticationError, PeerClosedError, PeerLostError
from limelight.transport.limits import TransportLimits
from limelight.transport.protocol import Call, Frame, Hello, encode
from tests.waiting import until

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


async def test_strangers_cannot_fill_the_log(world, caplog) -> None:
    server = await world.endpoint("server", limits=TransportLimits(handshakes=4))
    head = b"GET /channel HTTP/1.1\r\nHost: limelight\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n"
    for data in (b"\xff\r\n\r\n", b"GET http://[::/ HTTP/1.1\r\n\r\n", head + b"a b: c\r\n\r\n", chunked, b"x" * 9000):
        for _ in range(10):
            await raw(server.address, data)
    assert len(caplog.records) <= 2
    assert all(len(record.getMessage()) < 500 for record in caplog.records)
    assert not any(record.exc_info for record in caplog.records)


async def test_whoever_does_not_authenticate_in_time_is_cut_off(world) -> None:
    server = await world.endpoint("server", limits=TransportLimits(handshake=0.1))
    assert await raw(server.address, b"GET /channel HT") == b""
    await works(world, server)


async def test_connections_that_wait_to_authenticate_are_few_and_keep_nobody_out(world) -> None:
    server = await world.endpoint("server", limits=TransportLimits(handshake=60.0, handshakes=8))
    strangers = []
    for _ in range(40):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.setblocking(False)
        stranger.connect(server.address.unix)
        strangers.append(stranger)
    loop = asyncio.get_running_loop()
    for stranger in strangers[:32]:
        assert await asyncio.wait_for(loop.sock_recv(stranger, 1), 5) == b""
    assert len(server._listener._strangers) == 8
    await works(world, server)
    for stranger in strangers:
        stranger.close()
    await until(lambda: not len(server._listener._strangers))


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /channel HTTP/1.1\r\nHost: limelight\r\n"
        + b"".join(b"X%d: %s\r\n" % (n, b"x" * 8000) for n in range(100)),
        b"GET /channel HTTP/1.1\r\nHost: limelight\r\nLimelight-Version: 1\r\nLimelight-Process: x\r\n"
        b"Limelight-Nonce: 00000000000000000000000000000000\r\n\r\n" * 10_000,
        b"GET /channel HTTP/1.1\r\nHost: limelight\r\nContent-Length: 900000\r\n\r\n" + bytes(900_000),
        b"GET /channel HTTP/1.1\r\nHost: limelight\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000,
    ],
    ids=["headers", "requests", "a body", "chunks"],
)
async def test_who_has_not_authenticated_is_not_listened_to_for_long(world, flood) -> None:
    server = await world.endpoint("server", limits=TransportLimits(handshake=60.0))
    before = len(server._listener._strangers)
    reader, writer = await asyncio.open_unix_connection(server.address.unix)
    writer.write(flood)
    with contextlib.suppress(ConnectionError):
        assert b"101" not in await asyncio.wait_for(reader.read(), 5)  # to the end of the connection
    assert len(server._listener._strangers) == before
    writer.transport.abort()
    await works(world, server)


def answer_to(nonce: str, token: bytes, client: str = "thief", server: str = "server") -> dict[str, str]:
    """The headers of a second request whose proof is right."""
    text = base64.b64encode(encode(Hello(1, "", ProcessAddress(client, "here"), 1, 0, False, 0, {}))).decode()
    proof = Challenge(client, server, "0" * 32, nonce).client_proof(token, text)
    return {"Host": "limelight", "Limelight-Nonce": nonce, "Limelight-Hello": text, "Limelight-Proof": proof}


ASK = {"Host": "limelight", "Limelight-Version": "1", "Limelight-Process": "thief", "Limelight-Nonce": "0" * 32}


async def status_of(session: ClientSession, headers: dict[str, str]) -> tuple[int, str, str]:
    async with session.get("http://x/channel", headers=headers) as response:
        return (
            response.status,
            response.headers.get("Limelight-Nonce", ""),
            response.headers.get("Limelight-Reason", ""),
        )


async def test_a_proof_cannot_be_used_twice(world, token) -> None:
    server = await world.endpoint("server")
    async with ClientSession(connector=UnixConnector(server.address.unix)) as session:
        _, nonce, _ = await status_of(session, ASK)
        headers = answer_to(nonce, token)
        assert (await status_of(session, headers))[0] in {400, 426}  # authentic, but no upgrade
        status, _, reason = await status_of(session, headers)
        assert status == 401
        assert "not the one that this connection was given" in reason


async def test_a_challenge_can_be_answered_on_its_connection_only(world, token) -> None:
    """Who hears a handshake cannot finish it elsewhere."""
    server = await world.endpoint("server")
    async with (
        ClientSession(connector=UnixConnector(server.address.unix)) as asked,
        ClientSession(connector=UnixConnector(server.address.unix)) as other,
    ):
        _, nonce, _ = await status_of(asked, ASK)
        assert (await status_of(other, answer_to(nonce, token)))[0] == 401
        await status_of(other, ASK)
        assert (await status_of(other, answer_to(nonce, token)))[0] == 401
        assert (await status_of(asked, answer_to(nonce, token)))[0] in {400, 426}


async def test_asking_for_challenges_does_not_disturb_others(world, token) -> None:
    server = await world.endpoint("server", limits=TransportLimits(handshakes=8))
    async with (
        ClientSession(connector=UnixConnector(server.address.unix)) as honest,
        ClientSession(connector=UnixConnector(server.address.unix)) as greedy,
    ):
        _, nonce, _ = await status_of(honest, ASK)
        for _ in range(50):
            assert (await status_of(greedy, ASK))[0] == 401
        assert (await status_of(honest, answer_to(nonce, token)))[0] in {400, 426}


@pytest.mark.parametrize("said", ["server", "thief"])
async def test_our_own_words_sent_back_to_us_prove_nothing(world, token, said) -> None:
    """Reflection: the stranger answers our challenge with what we, or a process of ours, said to prove ourselves."""
    server = await world.endpoint("server")
    async with ClientSession(connector=UnixConnector(server.address.unix)) as session:
        async with session.get("http://x/channel", headers=ASK | {"Limelight-Process": said}) as response:
            nonce, proof = response.headers["Limelight-Nonce"], response.headers["Limelight-Proof"]
        headers = answer_to(nonce, b"not the token", client=said) | {"Limelight-Proof": proof}
        status, _, reason = await status_of(session, headers)
        assert status == 403
        assert "does not hold this cluster's token" in reason


@pytest.mark.parametrize("shown", ["", "0" * 64, "the proof of another token"])
async def test_who_answers_without_the_token_is_told_nothing(world, tmp_path_factory, token, shown) -> None:
    """An impostor at a server's address: it is refused before it gets a proof that it could pass on."""
    heard: list[bytes] = []

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                heard.append(request)
                if b"Limelight-Proof" in request:
                    break
                headers = dict(line.split(": ", 1) for line in request.decode().splitlines() if ": " in line)
                asked = Challenge(headers["Limelight-Process"], "server", headers["Limelight-Nonce"], "1" * 32)
                proof = asked.server_proof(b"another token") if shown.startswith("the") else shown
                answer = [
                    "HTTP/1.1 401 Unauthorized",
                    f"Limelight-Version: {headers['Limelight-Version']}",
                    "Limelight-Process: server",
                    f"Limelight-Nonce: {'1' * 32}",
                    f"Limelight-Proof: {proof}",
                    "Content-Length: 0",
                ]
                writer.write("\r\n".join([*answer, "", ""]).encode())
        writer.close()

    path = str(tmp_path_factory.mktemp("i") / "s")
    server = await asyncio.start_unix_server(impostor, path)
    client = await world.endpoint("client")
    with pytest.raises(AuthenticationError, match="does not hold this cluster's token"):
        async with asyncio.timeout(5):
            await client.connect(ProcessAddress("server", "here", path))
    server.close()
    assert heard
    assert not [request for request in heard if b"Limelight-Proof" in request or token in request]


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


@settings(deadline=None)
@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_no_two_lists_of_fields_sign_alike(left, right) -> None:
    assert (sign(b"key", *left) == sign(b"key", *right)) == (left == right)


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
async def test_mutated_frames_after_authentication_end_that_channel_only(world, recorder, token, seed) -> None:
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
async def test_protocol_errors_are_named(world, recorder, token, frame, reason) -> None:
    handler = recorder()
    server = await world.endpoint("server", handler)
    await evil_peer(server, token, [frame])
    await until(lambda: handler.lost)
    assert "broke the protocol" in str(handler.lost[0][1])
    assert reason in str(handler.lost[0][1])


async def test_a_message_over_the_limit_cuts_the_connection(world, recorder, token) -> None:
    handler = recorder()
    small = TransportLimits(message=10_000, frame=10_000, grace=0.05)
    server = await world.endpoint("server", handler, limits=small)
    await evil_peer(server, token, [encode(Frame(1, 0, [Call(1, "a", "m", bytes(3_000_000))]))])
    await until(lambda: handler.lost)
    assert not handler.calls


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
