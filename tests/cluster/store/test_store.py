"""The store on a real arena: what processes write, others read, however little memory there is."""

import asyncio
import os
import random

import numpy as np
import pytest

from limelight.cluster.store.error import ObjectNotHereError, ObjectStoreFullError, StoreClosedError
from limelight.cluster.store.spill_storage import DirectoryStorage
from limelight.cluster.store.store import ObjectStore
from limelight.transport.shm.arena import PAGE, Arena
from limelight.transport.shm.error import ObjectMovedError
from limelight.transport.shm.nursery import Nursery
from limelight.transport.shm.stored_object import object_size
from tests.waiting import until

MIB = 1 << 20
WRITER, OTHER = "11" * 16, "22" * 16


class Writer:
    """A process that puts objects, as its runtime would: nurseries, seals, frees. Runs in the test's process."""

    def __init__(self, store, process=WRITER, nursery=0):
        self.store = store
        self.arena = store.arena
        self.process = process
        self.wish = nursery
        self.nursery = None
        self.number = 0
        self.places = {}

    async def put(self, parts, owner=None):
        self.number += 1
        object_id = bytes.fromhex(self.process[:24]) + self.number.to_bytes(16, "big")
        size = object_size(parts, PAGE)
        offset = None if self.nursery is None else self.nursery.reserve(size)
        if offset is None:
            self.retire()
            self.nursery = Nursery(await self.store.grant(self.process, size, self.wish))
            offset = self.nursery.reserve(size)
        self.arena.write(offset, self.nursery.grant, object_id, bytes.fromhex(owner or self.process), parts)
        self.store.sealed(self.process, self.nursery.grant, object_id, owner or self.process, offset, size)
        self.places[object_id] = offset
        return object_id

    def retire(self):
        for rest in self.nursery.retire() if self.nursery is not None else []:
            self.store.returned(self.process, rest.grant, rest.offset, rest.size, rest.touched)

    async def get(self, object_id):
        for _ in range(20):
            try:
                return self.arena.read(object_id, self.places[object_id])
            except ObjectMovedError:
                self.places[object_id], _size = await self.store.locate(object_id)
        raise AssertionError("the object moves all the time")


@pytest.fixture
def asked():
    return []


@pytest.fixture
def make_store(tmp_path, asked):
    """Stores that are closed in the end, having left nothing."""

    async def close(stores):
        for store in stores:
            await store.close()

    stores = []

    def make(capacity, spill=True, **options):
        storage = DirectoryStorage(str(tmp_path / "spill")) if spill else None
        store = ObjectStore(
            Arena.create(capacity), capacity, storage, lambda process, grant: asked.append((process, grant)), **options
        )
        stores.append(store)
        return store

    make.close = lambda: close(stores)
    return make


@pytest.fixture(autouse=True)
async def everything_is_closed(make_store, tmp_path):
    yield
    await make_store.close()
    assert list(tmp_path.iterdir()) == []


def content(number, size):
    return np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8)


async def test_an_object_is_read_where_it_was_written(make_store):
    store = make_store(16 * MIB)
    writer = Writer(store)
    object_id = await writer.put([b"meta", b"data"])
    assert [bytes(part) for part in await writer.get(object_id)] == [b"meta", b"data"]
    assert (store.stats().objects, store.stats().resident) == (1, PAGE)


async def test_a_freed_object_s_memory_is_granted_again(make_store):
    store = make_store(16 * MIB, spill=False)
    writer = Writer(store)
    places = set()
    for number in range(50):
        object_id = await writer.put([b"m", content(number, 3 * MIB)])
        places.add(writer.places[object_id])
        store.freed(object_id)
    assert len(places) == 1, "the same warm memory each time"
    assert store.stats().resident == 0
    assert store.arena.resident_bytes() <= 4 * MIB


async def test_a_view_keeps_its_memory_while_others_are_written(make_store):
    store = make_store(16 * MIB, spill=False)
    writer = Writer(store)
    first = await writer.put([b"m", content(0, 3 * MIB)])
    view = (await writer.get(first))[1]
    store.freed(first)
    for number in range(1, 20):
        store.freed(await writer.put([b"m", content(number, 3 * MIB)]))
        assert (np.frombuffer(view, np.uint8) == content(0, 3 * MIB)).all()
    del view
    await until(lambda: store.stats().resident == 0)
    with pytest.raises(ObjectNotHereError, match="not on this node"):
        await store.locate(first)


async def test_what_does_not_fit_is_spilled_and_comes_back_as_it_was(make_store, tmp_path):
    store = make_store(16 * MIB)
    writer = Writer(store)
    ids = [await writer.put([number.to_bytes(4, "big"), content(number, 3 * MIB)]) for number in range(16)]
    assert len(list((tmp_path / "spill").iterdir())) >= 10
    order = [*range(16), *random.Random(1).sample(range(16), 16)]
    for number in order:
        meta, data = await writer.get(ids[number])
        assert bytes(meta) == number.to_bytes(4, "big")
        assert (np.frombuffer(data, np.uint8) == content(number, 3 * MIB)).all()
        del meta, data
        assert store.arena.resident_bytes() <= 16 * MIB
    for object_id in ids:
        store.freed(object_id)
    await until(lambda: store.stats().objects == 0 and not list((tmp_path / "spill").iterdir()))
    assert store.stats().resident == 0


async def test_memory_that_the_kernel_counts_stays_within_the_capacity(make_store):
    store = make_store(16 * MIB, spill=False)
    rng = random.Random(3)
    writers = [Writer(store, f"{number:032x}", nursery=MIB) for number in range(1, 5)]
    held = []
    for _ in range(300):
        writer = rng.choice(writers)
        held.append(await writer.put([b"m", bytes(rng.choice([1000, 200_000, MIB]))]))
        while len(held) > 6:
            store.freed(held.pop(rng.randrange(len(held))))
        assert store.arena.resident_bytes() <= 16 * MIB


async def test_a_spilled_object_in_use_keeps_its_memory_until_it_is_let_go(make_store):
    store = make_store(16 * MIB, grant_timeout=0.3)
    writer = Writer(store)
    held = [await writer.get(await writer.put([b"m", content(number, 3 * MIB)])) for number in range(4)]
    with pytest.raises(
        ObjectStoreFullError, match=r"needs 8.0 MiB.*\n.*in use by readers.*\n.*111111.*[\s\S]*What to do"
    ):
        await store.grant(OTHER, 8 * MIB)
    for number, parts in enumerate(held):
        assert (np.frombuffer(parts[1], np.uint8) == content(number, 3 * MIB)).all()
    del parts
    waiting = asyncio.ensure_future(store.grant(OTHER, 8 * MIB))
    await asyncio.sleep(0)
    held.clear()
    assert (await waiting).size == 8 * MIB


async def test_a_full_store_without_a_disk_says_who_holds_it(make_store):
    store = make_store(16 * MIB, spill=False, grant_timeout=0.1)
    writer = Writer(store)
    for number in range(5):
        await writer.put([b"m", content(number, 3 * MIB)])
    with pytest.raises(ObjectStoreFullError, match=r"Objects by owner: 1111.* 15.0 MiB[\s\S]*Spilling to disk is off"):
        await writer.put([b"m", content(5, 3 * MIB)])


async def test_a_put_waits_until_there_is_room(make_store):
    store = make_store(16 * MIB, spill=False)
    writer = Writer(store)
    ids = [await writer.put([b"m", content(number, 3 * MIB)]) for number in range(5)]
    waiting = asyncio.ensure_future(Writer(store, OTHER).put([b"m", content(9, 3 * MIB)]))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    store.freed(ids[2])
    await waiting


async def test_an_object_larger_than_the_store_fails_at_once(make_store):
    store = make_store(16 * MIB)
    with pytest.raises(ObjectStoreFullError, match=r"object of 17.0 MiB.*can never fit.*16.0 MiB.*object_store_memory"):
        await store.grant(WRITER, 17 * MIB)


async def test_unused_grants_are_asked_back_when_memory_is_short(make_store, asked):
    store = make_store(16 * MIB, spill=False)
    hoarder = Writer(store, OTHER, nursery=12 * MIB)
    await hoarder.put([b"small"])
    waiting = asyncio.ensure_future(store.grant(WRITER, 10 * MIB))
    await until(lambda: asked)
    assert asked == [(OTHER, hoarder.nursery.grant)]
    hoarder.retire()
    assert (await waiting).size == 10 * MIB


async def test_a_wish_is_granted_only_where_memory_is_plenty(make_store):
    store = make_store(16 * MIB, spill=False)
    assert (await store.grant(WRITER, PAGE, wish=8 * MIB)).size == 8 * MIB
    assert (await store.grant(WRITER, PAGE, wish=8 * MIB)).size == PAGE


async def test_a_repeated_request_gets_the_same_grant(make_store):
    store = make_store(16 * MIB)
    first = await store.grant(WRITER, MIB, request=7)
    assert await store.grant(WRITER, MIB, request=7) == first
    assert store.stats().granted == MIB


async def test_a_cancelled_request_leaves_nothing_granted(make_store):
    store = make_store(16 * MIB, spill=False)
    grant = await store.grant(WRITER, 10 * MIB)
    waiting = asyncio.ensure_future(store.grant(OTHER, 10 * MIB))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    answered = asyncio.ensure_future(store.grant(OTHER, 10 * MIB))
    await asyncio.sleep(0)
    store.returned(WRITER, grant.grant, grant.offset, grant.size, touched=False)
    answered.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answered
    assert store.stats().granted == 0


async def test_what_a_lost_process_had_sealed_for_others_is_kept(make_store):
    store = make_store(16 * MIB)
    lost = Writer(store, WRITER, nursery=MIB)
    grant = await store.grant(WRITER, MIB)
    nursery = Nursery(grant)
    mine, theirs, unfinished = b"a" * 28, b"b" * 28, b"c" * 28
    for object_id, owner in ((mine, WRITER), (theirs, OTHER)):
        store.arena.write(nursery.reserve(PAGE), grant.grant, object_id, bytes.fromhex(owner), [object_id])
    store.arena.begin(nursery.reserve(PAGE), grant.grant, unfinished, bytes.fromhex(OTHER), [5])
    await lost.put([b"reported, and owned by the lost"])
    store.process_lost(WRITER)
    offset, _ = await store.locate(theirs)
    assert bytes(store.arena.read(theirs, offset)[0]) == theirs
    for gone in (mine, unfinished):
        with pytest.raises(ObjectNotHereError):
            await store.locate(gone)
    assert (store.stats().objects, store.stats().resident, store.stats().granted) == (1, PAGE, 0)
    store.sealed(WRITER, grant.grant, theirs, OTHER, offset, PAGE)  # the late message changes nothing
    assert store.stats().objects == 1
    store.owner_lost(OTHER)
    assert (store.stats().objects, store.stats().resident) == (0, 0)


async def test_a_free_that_overtakes_the_seal_is_honoured(make_store):
    store = make_store(16 * MIB)
    store.freed(bytes.fromhex(WRITER[:24]) + (1).to_bytes(16, "big"))
    await Writer(store).put([b"data"])
    assert store.stats().objects == 0


async def test_open_gives_views_for_sending_and_brings_the_object_back_for_it(make_store):
    store = make_store(16 * MIB)
    writer = Writer(store)
    ids = [await writer.put([b"m", content(number, 3 * MIB)]) for number in range(10)]
    opened = await store.open(ids[0])
    assert opened.sizes == [1, 3 * MIB]
    assert (np.frombuffer(opened.parts[1], np.uint8) == content(0, 3 * MIB)).all()


async def test_a_damaged_spill_file_is_an_error_that_says_so(make_store, tmp_path, caplog):
    store = make_store(16 * MIB)
    writer = Writer(store)
    ids = [await writer.put([b"m", content(number, 3 * MIB)]) for number in range(10)]
    await until(lambda: store.stats().on_disk >= 6 * 3 * MIB and not store._jobs)
    for file in (tmp_path / "spill").iterdir():
        os.truncate(file, 100)
    with pytest.raises(ObjectNotHereError, match=r"lost in the spill storage.*cut short"):
        await store.locate(ids[0])
    assert "Restoring object" in caplog.text


async def test_a_disk_that_fails_is_named_when_memory_runs_out(make_store, tmp_path, caplog):
    store = make_store(16 * MIB, grant_timeout=0.2)
    (tmp_path / "spill").rmdir()
    writer = Writer(store)
    for number in range(5):
        await writer.put([b"m", content(number, 3 * MIB)])
    with pytest.raises(ObjectStoreFullError, match="Spilling to disk fails: Cannot write"):
        await writer.put([b"m", content(5, 3 * MIB)])
    assert "Spilling object" in caplog.text


async def test_closing_ends_what_waits(make_store):
    store = make_store(16 * MIB, spill=False)
    await store.grant(WRITER, 10 * MIB)
    waiting = asyncio.ensure_future(store.grant(OTHER, 10 * MIB))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreClosedError, match="session has ended"):
        await waiting
    with pytest.raises(StoreClosedError):
        await store.locate(b"x" * 28)


@pytest.mark.slow
async def test_two_gigabytes_through_half_a_gigabyte(make_store):
    """Kept: by spilling, bit-exact. Dropped: without touching the disk."""
    store = make_store(500_000_000)
    writer = Writer(store)
    for number in range(20):
        store.freed(await writer.put([b"m", content(number, 100_000_000)]))
    assert store.stats().spilled_total == 0
    ids = [await writer.put([b"m", content(number, 100_000_000)]) for number in range(20)]
    for number, object_id in enumerate(ids):
        data = (await writer.get(object_id))[1]
        assert (np.frombuffer(data, np.uint8) == content(number, 100_000_000)).all()
        assert store.arena.resident_bytes() <= 500_000_000
        del data
    assert store.stats().spilled_total >= 1_500_000_000
