"""Who may speak to the head's web server."""

import asyncio
import contextlib
import socket

import pytest
from aiohttp import ClientSession, TCPConnector, web

from limelight.cluster.web import guard as guard_module
from limelight.cluster.web.guard import Guard
from limelight.transport.seldom import Seldom

TOKEN = "5" * 64
BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def echo(request: web.Request) -> web.Response:
    return web.Response(text=await request.text())


@contextlib.asynccontextmanager
async def serving(**options):
    """A server behind a guard; its port."""
    guard = Guard(TOKEN, names=["dash.example"], **options)
    app = web.Application(middlewares=[guard.middleware()])
    app.router.add_route("*", "/{tail:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    server = runner.server
    assert server is not None
    listening = await asyncio.get_running_loop().create_server(lambda: guard.greet(server), "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()
    guard.close()
    await runner.cleanup()


@pytest.fixture
async def server():
    async with serving() as port:
        yield port


@contextlib.asynccontextmanager
async def connection(port: int):
    """A connection that says what a test has it say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def is_cut(reader: asyncio.StreamReader) -> bool:
    """The server has ended the connection without a word."""
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


async def ask(port: int, headers: dict[str, str], method: str = "GET") -> int:
    url = f"http://127.0.0.1:{port}/api/jobs/"
    connector = TCPConnector(force_close=True)
    async with ClientSession(connector=connector) as session, session.request(method, url, headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (BEARER, 200),
        ({"Authorization": f"bearer {TOKEN}"}, 200),
        ({}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": f"Bearer {'6' * 64}"}, 401),
        ({"Authorization": f"Bearer {TOKEN}0"}, 401),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"Authorization": f"Bearer {TOKEN * 100}"}, 401),
        ({"Authorization": "Bearer \u00e9" + TOKEN}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": TOKEN}, 401),
    ],
)
async def test_the_token_is_asked_for(server, headers, status):
    assert await ask(server, headers) == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8265", 200),
        ("127.0.0.1:8265", 200),
        ("[::1]:8265", 200),
        ("10.77.0.3", 200),
        (socket.gethostname(), 200),
        ("dash.example:80", 200),
        ("evil.example", 403),
        ("evil.example:8265", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ],
)
async def test_a_name_that_was_made_to_point_here_is_refused(server, host, status):
    """DNS rebinding: the browser of somebody on this machine thinks that it speaks to evil.example."""
    assert await ask(server, {**BEARER, "Host": host}) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_pages_of_other_sites_are_refused(server, headers, status):
    headers = {name: value.format(port=server) for name, value in headers.items()}
    assert await ask(server, {**BEARER, **headers}, "POST") == status


async def test_nothing_of_a_strangers_body_is_read(server):
    async with connection(server) as (reader, writer):
        writer.write(b"POST /api/jobs/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"401"
        assert b"token is missing" in await reader.read()  # the connection ends


async def test_who_says_nothing_is_cut_off():
    async with serving(patience=0.05) as port, connection(port) as (reader, writer):
        writer.write(b"GET / HT")
        assert await is_cut(reader)


async def test_who_says_endlessly_much_is_cut_off(server):
    async with connection(server) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\n")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 << 20:
                sent += 4096
                writer.write(b"X-%d: %s\r\n" % (sent, b"x" * 4080))
                await writer.drain()
        assert await is_cut(reader)
    assert sent < 64 << 20


async def test_who_has_shown_the_token_is_not():
    request = f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    async with serving(patience=0.05) as port, connection(port) as known, connection(port) as stranger:
        known[1].write(request)
        assert b"200" in await known[0].readuntil(b"\r\n\r\n")
        assert await is_cut(stranger[0])
        known[1].write(request)
        assert b"200" in await known[0].readuntil(b"\r\n\r\n")


async def test_who_has_shown_the_token_may_send_as_much_as_it_likes(server):
    body = b"x" * (1 << 20)
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    async with connection(server) as (reader, writer):
        for _ in range(4):
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert b"200" in answer.splitlines()[0]
            assert len(await reader.readexactly(len(body))) == len(body)


async def test_many_strangers_cost_only_each_other():
    async with serving(strangers=3) as port, contextlib.AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(connection(port)) for _ in range(10)]
        assert await ask(port, BEARER) == 200
        assert await is_cut(strangers[0][0])


async def test_refusals_do_not_fill_the_log(server, caplog, monkeypatch):
    monkeypatch.setattr(guard_module, "_refusals", Seldom(guard_module.logging.getLogger("test")))
    for _ in range(20):
        assert await ask(server, {}) == 401
    [logged] = caplog.records
    assert "token is missing" in logged.getMessage()
