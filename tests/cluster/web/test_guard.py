"""Who may speak to an HTTP port."""

import asyncio
import contextlib

import pytest
from aiohttp import ClientSession, web
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.cluster.web.guard import Guard

TOKEN = "0123456789abcdef" * 4
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HOST = {"Host": "127.0.0.1:8265"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest.fixture
def guard() -> Guard:
    return Guard(TOKEN, ["head.example"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8265",
        "10.77.0.1:8265",
        "[::1]:8265",
        "[fe80::1]",
        "localhost:8265",
        "Head.Example.:8265",
        "LOCALHOST",
    ],
)
def test_whoever_holds_the_token_is_served(guard, host) -> None:
    assert guard.judge({"Host": host} | BEARER) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example:8265", "127.0.0.1.evil.example", "localhost.evil.example:8265", "evil.example@127.0.0.1", "", " ",
     "[", "head.example.evil", "0x7f000001"],
)  # fmt: skip
def test_a_name_that_is_not_ours_is_refused_though_it_has_the_token(guard, host) -> None:
    """DNS rebinding: the browser says whom it believes to talk to."""
    refusal = guard.judge({"Host": host} | BEARER)
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:80", "http://127.0.0.1:8265.evil.example",
     "file://", "http://127.0.0.1:8265/"],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(guard, origin) -> None:
    refusal = guard.judge(HOST | BEARER | {"Origin": origin})
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(("site", "served"), [("same-origin", True), ("none", True), ("same-site", False),
                                              ("cross-site", False), ("", False)])  # fmt: skip
def test_what_the_browser_says_of_the_site_counts(guard, site, served) -> None:
    assert (guard.judge(HOST | BEARER | {"Sec-Fetch-Site": site}) is None) is served


def test_our_own_pages_are_served(guard) -> None:
    assert guard.judge(HOST | BEARER | {"Origin": "http://127.0.0.1:8265"}) is None
    assert guard.judge(HOST | {"Origin": "http://127.0.0.1:8265"}, public=True) is None


def test_public_pages_are_kept_from_other_sites_too(guard) -> None:
    assert guard.judge({"Host": "evil.example"}, public=True) is not None


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0", "Bearer ü",
     f"Bearer {TOKEN.upper()}", f"Token {TOKEN}"],
)  # fmt: skip
def test_without_the_token_nothing_is_served(guard, authorization) -> None:
    refusal = guard.judge(HOST | {"Authorization": authorization})
    assert refusal is not None
    assert refusal.status == 401
    assert TOKEN not in refusal.reason


def test_a_guard_without_a_token_guards_nothing() -> None:
    with pytest.raises(ValueError, match="everybody's"):
        Guard("")


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["Host", "Origin", "Sec-Fetch-Site", "Authorization", "Cookie", "User-Agent"]), st.text()
    )
)
def test_no_headers_without_the_token_get_in_or_do_harm(headers) -> None:
    assert Guard(TOKEN).judge(headers) is not None


async def test_every_method_and_every_path_needs_the_token(guard) -> None:
    """Also paths that are not there: a stranger does not learn which ones are."""
    reached: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        reached.append(request.method)
        return web.Response()

    application = web.Application(middlewares=[guard.middleware])
    application.router.add_route("*", "/here", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    [address] = runner.addresses
    async with ClientSession() as session:
        for method in METHODS:
            for path in ("/here", "/there"):
                async with session.request(method, f"http://127.0.0.1:{address[1]}{path}") as response:
                    assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert not reached
        for method in METHODS:
            async with session.request(method, f"http://127.0.0.1:{address[1]}/here", headers=BEARER) as response:
                assert response.status == 200
    assert tuple(reached) == METHODS
    await runner.cleanup()


async def test_the_body_of_a_refused_request_is_not_waited_for(guard) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    application = web.Application(middlewares=[guard.middleware])
    application.router.add_post("/here", handler)
    runner = web.AppRunner(application, lingering_time=0.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    [address] = runner.addresses
    reader, writer = await asyncio.open_connection("127.0.0.1", address[1])
    writer.write(b"POST /here HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\nx")
    answer = await asyncio.wait_for(reader.read(), 5)  # to the end of the connection
    assert answer.startswith(b"HTTP/1.1 401")
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await runner.cleanup()
