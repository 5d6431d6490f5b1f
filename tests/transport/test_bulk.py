"""Bulk streams: bytes arrive exactly, ranges that fail are fetched again, and only peers are served."""

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
from limelight.transport.error import (
    BulkChecksumError,
    BulkError,
    BulkNotFoundError,
    ConnectError,
    PeerClosedError,
    ProtocolError,
)
from limelight.transport.limits import MIB, TransportLimits


class Store:
    """Objects by name; counts what is pinned."""

    def __init__(self, **objects: bytes) -> None:
        self.objects = objects
        self.pinned = 0
        self.opened = 0

    async def open(self, name: str) -> "Pinned":
        data = self.objects[name]
        self.pinned += 1
        self.opened += 1
        return Pinned(self, data)


class Pinned:
    def __init__(self, store: Store, data: bytes) -> None:
        self.store = store
        self.data = memoryview(data)
        self.size = len(data)

    def view(self, start: int, stop: int) -> memoryview:
        return self.data[start:stop]

    def release(self) -> None:
        self.store.pinned -= 1


@pytest.fixture(params=["unix", "tcp"])
def way(request) -> dict[str, str]:
    return {} if request.param == "unix" else {"unix_path": "", "tcp": "127.0.0.1:0"}


async def test_objects_of_all_sizes_arrive(world, way, monkeypatch, until) -> None:
    monkeypatch.setattr(bulk_client, "_RANGE", 300_000)
    store = Store(**{f"object {n}/ü?": os.urandom(n) for n in (0, 1, 1000, 299_999, 300_000, 300_001, 3 * MIB)})
    server = await world.endpoint("server", bulk=store, **way)
    client = BulkClient(await world.endpoint("client"))
    for name, data in store.objects.items():
        into = bytearray(len(data))
        await client.fetch(server.address, name, memoryview(into))
        assert into == data
    await until(lambda: store.pinned == 0)
    await client.close()


async def test_what_cannot_be_fetched_is_said(world, way) -> None:
    store = Store(object=bytes(1000))
    server = await world.endpoint("server", bulk=store, **way)
    client = BulkClient(await world.endpoint("client"))
    with pytest.raises(BulkNotFoundError, match="no object of that name"):
        await client.fetch(server.address, "another", memoryview(bytearray(10)))
    with pytest.raises(BulkError, match="not of the expected 10 bytes: bytes 0-9/1000"):
        await client.fetch(server.address, "object", memoryview(bytearray(10)))
    with pytest.raises(BulkError, match="the object has 1000 bytes"):
        await client.fetch(server.address, "object", memoryview(bytearray(1001)))
    bare = await world.endpoint("bare")
    with pytest.raises(BulkError, match="nothing of that name"):
        await client.fetch(bare.address, "object", memoryview(bytearray(10)))
    await client.close()


async def test_a_cut_stream_goes_on_with_the_range_that_failed(world, monkeypatch, until) -> None:
    monkeypatch.setattr(bulk_client, "_RANGE", MIB)
    data = os.urandom(8 * MIB)
    store = Store(object=data)
    server = await world.endpoint("server", bulk=store)
    client_end = await world.endpoint("client")
    cutter = await world.cutter(server.address)
    # The server says where it listens; the client believes that it is the proxy.
    monkeypatch.setattr(BulkClient, "_route", lambda self, peer: f"unix:{cutter.path}")
    client = BulkClient(client_end)
    into = bytearray(len(data))
    cutter.bytes_until_cut = int(3.5 * MIB)
    await client.fetch(server.address, "object", memoryview(into))
    assert into == data
    assert 8 < store.opened <= 10, "only what failed was sent again"
    await until(lambda: store.pinned == 0)
    await client.close()


async def test_a_stream_that_stalls_is_given_up_and_unpinned(world, monkeypatch, until) -> None:
    limits = TransportLimits(grace=0.2, silence=0.2)
    store = Store(object=bytes(8 * MIB))
    server = await world.endpoint("server", bulk=store, limits=limits)
    cutter = await world.cutter(server.address)
    cutter.stall()
    monkeypatch.setattr(BulkClient, "_route", lambda self, peer: f"unix:{cutter.path}")
    client = BulkClient(await world.endpoint("client", limits=limits))
    with pytest.raises(ConnectError, match=r"stalled: nothing arrived for 0.2 s"):
        await client.fetch(server.address, "object", memoryview(bytearray(8 * MIB)))
    await until(lambda: store.pinned == 0)
    await client.close()


async def test_losing_the_channel_ends_the_fetch(world, monkeypatch, until) -> None:
    store = Store(object=bytes(8 * MIB))
    server = await world.endpoint("server", bulk=store)
    client_end = await world.endpoint("client")
    monkeypatch.setattr(BulkClient, "_route", lambda self, peer: "unix:/nowhere")
    fetch = asyncio.create_task(BulkClient(client_end).fetch(server.address, "object", memoryview(bytearray(8 * MIB))))
    await until(lambda: client_end.channel("server"))
    await client_end.channel("server").close()
    with pytest.raises(PeerClosedError):
        await fetch


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


def answer(body: bytes, checksum: int | None = None, size: int = 100) -> bytes:
    checksum = zlib.crc32(body) if checksum is None else checksum
    head = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {len(body) + 4}\r\nContent-Range: bytes 0-9/{size}\r\n\r\n"
    return head.encode() + body + checksum.to_bytes(4, "big")


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
        feed(BulkResponse(memoryview(bytearray(3)), 100), answer(b"abc", checksum=1), [1000])


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


async def test_a_wrong_range_is_fetched_once_more(world, monkeypatch) -> None:
    store = Store(object=os.urandom(1000))
    server = await world.endpoint("server", bulk=store)
    client = BulkClient(await world.endpoint("client"))
    wrong = [1]
    crc32 = zlib.crc32

    def sometimes_wrong(data: bytes, value: int = 0) -> int:
        return crc32(data, value) ^ (wrong.pop() if wrong else 0)

    monkeypatch.setattr("limelight.transport.bulk_response.zlib.crc32", sometimes_wrong)
    into = bytearray(1000)
    await client.fetch(server.address, "object", memoryview(into))
    assert into == store.objects["object"]
    assert store.opened == 2
    wrong += [1] * 100
    monkeypatch.setattr("limelight.transport.bulk.zlib.crc32", crc32)
    await client.close()


def test_the_address_of_another_host_is_dialled_by_tcp() -> None:
    address = ProcessAddress("p", "there", "/socket", "10.0.0.1:7")
    assert address.route_from("here") == "tcp:10.0.0.1:7"
    assert address.route_from("there") == "unix:/socket"
