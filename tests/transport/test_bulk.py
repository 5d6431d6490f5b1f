"""Bulk streams: bytes arrive exactly or not at all, and only peers are served."""

import asyncio
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.transport import bulk_client
from limelight.transport.address import ProcessAddress
from limelight.transport.auth import HOST
from limelight.transport.bulk_client import BulkClient
from limelight.transport.bulk_response import BulkResponse
from limelight.transport.checksum import checksum
from limelight.transport.error import (
    BulkChangedError,
    BulkChecksumError,
    BulkError,
    BulkNotFoundError,
    BulkUnavailableError,
    ConnectError,
    PeerClosedError,
    ProtocolError,
)
from limelight.transport.limits import MIB, TransportLimits
from tests.waiting import until


class Store:
    """Objects by name; counts what is pinned."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects
        self.tag = "now"
        self.known: int | None = None
        self.busy = ""
        self.arriving: asyncio.Future[None] | None = None
        self.pinned = 0
        self.opened = 0

    async def open(self, name: str) -> "Pinned":
        data = self.objects[name]
        if self.busy:
            raise BulkUnavailableError(self.busy)
        self.pinned += 1
        self.opened += 1
        return Pinned(self, data)


class Pinned:
    def __init__(self, store: Store, data: bytes) -> None:
        self.store = store
        self.data = memoryview(data)
        self.size = len(data)
        self.tag = store.tag

    async def ready(self, start: int, stop: int) -> None:
        if self.store.arriving is not None:
            await self.store.arriving

    def checksum(self, start: int, stop: int) -> int | None:
        return self.store.known

    def view(self, start: int, stop: int) -> memoryview:
        return self.data[start:stop]

    def release(self) -> None:
        self.store.pinned -= 1


@pytest.fixture(params=["unix", "tcp"])
def way(request) -> dict[str, str]:
    return {} if request.param == "unix" else {"unix_path": "", "tcp": "127.0.0.1:0"}


async def test_ranges_of_all_sizes_arrive(world, way) -> None:
    store = Store(**{"object/ü?": os.urandom(3 * MIB)})
    ((name, data),) = store.objects.items()
    server = await world.endpoint("server", bulk=store, **way)
    client = BulkClient(await world.endpoint("client"))
    for start, size in [(0, 1), (0, 3 * MIB), (7, 1000), (MIB, 262_144), (262_143, 262_146), (3 * MIB - 1, 1)]:
        into = bytearray(size)
        got = await client.fetch(server.address, name, start, memoryview(into), len(data))
        assert into == data[start : start + size]
        assert got == (store.tag, zlib.crc32(into))
    await until(lambda: store.pinned == 0)
    await client.close()


async def test_what_cannot_be_fetched_is_said(world, way) -> None:
    store = Store(object=bytes(1000))
    server = await world.endpoint("server", bulk=store, **way)
    client = BulkClient(await world.endpoint("client"))

    async def fetch(name: str = "object", size: int = 1000, server=server.address, start: int = 0, tag: str = ""):
        await client.fetch(server, name, start, memoryview(bytearray(10)), size, tag)

    with pytest.raises(BulkNotFoundError, match="no object of that name"):
        await fetch("another")
    with pytest.raises(BulkChangedError, match="not of the expected 10 bytes: bytes 0-9/1000"):
        await fetch(size=10)
    with pytest.raises(BulkChangedError, match="the object has 1000 bytes"):
        await fetch(start=991, size=1001)
    with pytest.raises(BulkChangedError, match="another one of that name"):
        await fetch(tag="earlier")
    await fetch(tag=store.tag)
    store.busy = "no memory\nat all"
    with pytest.raises(BulkUnavailableError, match="no memory at all"):
        await fetch()
    bare = await world.endpoint("bare")
    with pytest.raises(BulkError, match="nothing of that name"):
        await fetch(server=bare.address)
    await client.close()


async def test_a_range_that_is_still_to_come_is_sent_when_it_is_there(world) -> None:
    store = Store(object=os.urandom(1000))
    store.arriving = asyncio.get_running_loop().create_future()
    server = await world.endpoint("server", bulk=store)
    client = BulkClient(await world.endpoint("client"))
    into = bytearray(500)
    fetching = asyncio.ensure_future(client.fetch(server.address, "object", 0, memoryview(into), 1000))
    await until(lambda: store.pinned)
    assert not fetching.done()
    store.arriving.set_result(None)
    await fetching
    assert into == store.objects["object"][:500]
    store.arriving = asyncio.get_running_loop().create_future()
    store.arriving.set_exception(KeyError("object"))
    with pytest.raises(BulkNotFoundError, match="does not"):
        await client.fetch(server.address, "object", 0, memoryview(into), 1000)
    await until(lambda: store.pinned == 0)
    await client.close()


async def test_a_known_checksum_is_sent_instead_of_a_new_one(world) -> None:
    store = Store(object=bytes(1000))
    store.known = zlib.crc32(b"what it was when it came")
    server = await world.endpoint("server", bulk=store)
    client = BulkClient(await world.endpoint("client"))
    with pytest.raises(BulkChecksumError):
        await client.fetch(server.address, "object", 0, memoryview(bytearray(1000)), 1000)
    store.known = zlib.crc32(bytes(1000))
    await client.fetch(server.address, "object", 0, memoryview(bytearray(1000)), 1000)
    await client.close()


async def test_a_cut_stream_is_said_and_the_next_range_comes_by_another(world, monkeypatch) -> None:
    data = os.urandom(4 * MIB)
    store = Store(object=data)
    server = await world.endpoint("server", bulk=store)
    client_end = await world.endpoint("client")
    cutter = await world.cutter(server.address)
    # The server says where it listens; the client believes that it is the proxy.
    monkeypatch.setattr(BulkClient, "_route", lambda self, peer: f"unix:{cutter.path}")
    client = BulkClient(client_end)
    into = memoryview(bytearray(len(data)))
    cutter.bytes_until_cut = int(1.5 * MIB)
    await client.fetch(server.address, "object", 0, into[:MIB], len(data))
    with pytest.raises(ConnectError):
        await client.fetch(server.address, "object", MIB, into[MIB:], len(data))
    await client.fetch(server.address, "object", MIB, into[MIB:], len(data))
    assert into == data
    await until(lambda: store.pinned == 0)
    await client.close()


async def test_a_stream_that_stalls_is_given_up_and_unpinned(world, monkeypatch) -> None:
    monkeypatch.setattr(bulk_client, "PATIENCE", 0.2)
    limits = TransportLimits(grace=0.2, silence=0.2)
    store = Store(object=bytes(8 * MIB))
    server = await world.endpoint("server", bulk=store, limits=limits)
    cutter = await world.cutter(server.address)
    cutter.stall()
    monkeypatch.setattr(BulkClient, "_route", lambda self, peer: f"unix:{cutter.path}")
    client = BulkClient(await world.endpoint("client", limits=limits))
    with pytest.raises(ConnectError, match=r"stalled: nothing arrived for 0.2 s"):
        await client.fetch(server.address, "object", 0, memoryview(bytearray(8 * MIB)), 8 * MIB)
    await until(lambda: store.pinned == 0)
    await client.close()


async def test_losing_the_channel_ends_what_waits_for_an_answer(world) -> None:
    store = Store(object=bytes(1000))
    store.arriving = asyncio.get_running_loop().create_future()
    server = await world.endpoint("server", bulk=store)
    client_end = await world.endpoint("client", limits=TransportLimits(silence=0.1))
    client = BulkClient(client_end)
    fetch = asyncio.create_task(client.fetch(server.address, "object", 0, memoryview(bytearray(1000)), 1000))
    await until(lambda: store.pinned)
    await client_end.channel("server").close()
    with pytest.raises(PeerClosedError):
        await fetch
    store.arriving.set_result(None)
    await until(lambda: store.pinned == 0)
    await client.close()


async def test_nothing_is_written_any_more_after_a_fetch_is_cancelled(world) -> None:
    store = Store(object=b"x" * (64 * MIB))
    server = await world.endpoint("server", bulk=store)
    client = BulkClient(await world.endpoint("client"))
    into = memoryview(bytearray(64 * MIB))
    fetch = asyncio.create_task(client.fetch(server.address, "object", 0, into, 64 * MIB))
    await until(lambda: into[MIB] == ord("x"))
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    here = bytes(into).count(b"x")
    await until(lambda: store.pinned == 0)
    assert bytes(into).count(b"x") == here < 64 * MIB
    await client.close()


@pytest.mark.parametrize(
    "headers",
    [
        "",
        "Range: bytes=0-9\r\nLimelight-Process: client\r\nLimelight-Nonce: x\r\nLimelight-Proof: 00\r\n",
        "Range: bytes=0-9\r\nLimelight-Process: stranger\r\nLimelight-Nonce: x\r\nLimelight-Proof: 00\r\n",
    ],
)
async def test_unsigned_requests_are_refused(world, headers) -> None:
    store = Store(object=bytes(1000))
    server = await world.endpoint("server", bulk=store)
    await (await world.endpoint("client")).connect(server.address)
    reader, writer = await asyncio.open_unix_connection(server.address.unix)
    writer.write(f"GET /bulk/object HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n".encode())
    assert b" 403 " in await reader.readline()
    writer.close()
    assert store.opened == 0


def answer(body: bytes, claimed: int | None = None, size: int = 100) -> bytes:
    claimed = zlib.crc32(body) if claimed is None else claimed
    head = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {len(body) + 4}\r\nContent-Range: bytes 0-9/{size}\r\n\r\n"
    return head.encode() + body + claimed.to_bytes(4, "big")


def feed(response: BulkResponse, data: bytes, cuts: list[int]) -> None:
    """Hand over the data in pieces."""
    for cut in cuts:
        piece, data = data[:cut], data[cut:]
        while piece and not response.done:
            place = response.buffer()
            part = piece[: len(place)]
            place[: len(part)] = part
            response.filled(len(part))
            piece = piece[len(part) :]


@given(st.binary(min_size=1, max_size=500), st.lists(st.integers(1, 60), max_size=40))
def test_an_answer_may_come_in_any_pieces(body: bytes, cuts: list[int]) -> None:
    into = bytearray(len(body))
    response = BulkResponse(memoryview(into), 100)
    feed(response, answer(body), [*cuts, 10_000])
    assert response.done
    assert into == body


def test_a_wrong_checksum_is_noticed() -> None:
    with pytest.raises(BulkChecksumError, match="was sent with 00000001"):
        feed(BulkResponse(memoryview(bytearray(3)), 100), answer(b"abc", claimed=1), [1000])


@given(st.binary(max_size=300), st.integers(0, 200), st.integers(0, 200))
def test_a_mutated_answer_is_refused_or_the_right_one(noise: bytes, start: int, length: int) -> None:
    good = answer(b"body of the range")
    data = good[:start] + noise + good[start + length :]
    into = bytearray(17)
    response = BulkResponse(memoryview(into), 100)
    try:
        feed(response, data, [len(data) + 1])
    except (BulkError, ProtocolError):
        return
    assert not response.done or into == b"body of the range"


def test_the_fast_checksum_is_that_of_zlib() -> None:
    data = os.urandom(100_001)
    value = checksum(memoryview(data)[:50_000])
    assert checksum(memoryview(data)[50_000:], value) == zlib.crc32(data)


def test_the_address_of_another_host_is_dialled_by_tcp() -> None:
    address = ProcessAddress("p", "there", "/socket", "10.0.0.1:7")
    assert address.route_from("here") == "tcp:10.0.0.1:7"
    assert address.route_from("there") == "unix:/socket"
