"""Large objects between nodes: spread by those who are just getting them, resumed, checked, and given up cleanly."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from limelight.actors.contract import NODE, LocateObject, Location, WantedObject, WantObjects
from limelight.actors.native.copies import Copies
from limelight.actors.pickling import failure
from limelight.actors.pickling.failure import failure_summary, serialize_error
from limelight.cluster.pull.pull import RANGE
from limelight.exceptions import ObjectStoreFullError
from limelight.transport.error import RemoteCallError
from tests.waiting import until

from .station import MIB, PATIENCE, Station, World

CAPACITY = 128 * MIB
SIZE = 40 * MIB
RANGES = SIZE // RANGE + 1


@pytest_asyncio.fixture
async def world(tmp_path_factory) -> AsyncIterator[World]:
    made = await World(tmp_path_factory.mktemp("w"), count=5, capacity=CAPACITY).start()
    yield made
    await made.close()


async def publish(world: World, station: Station, size: int = SIZE) -> tuple[bytes, bytes, Location]:
    """An object on a station: its id, its content and where it is."""
    object_id, content = os.urandom(28), os.urandom(size)
    place = await station.write(object_id, world.process.address, content)
    world.owner.own(object_id, place)
    return object_id, content, place


def sent(station: Station, object_id: bytes) -> int:
    return station.source.opened[object_id.hex()]


def memory(station: Station) -> int:
    return station.store.stats().granted


async def test_an_object_that_all_want_at_once_leaves_its_node_about_once(world) -> None:
    size, ranges = 96 * MIB, 25
    object_id, content, place = await publish(world, world.here, size)
    others = world.stations[1:]
    copies = await asyncio.gather(*(world.locate(station, object_id, place) for station in others))
    for station, copy in zip(others, copies, strict=True):
        assert station.read(object_id, copy) == content
    assert ranges <= sent(world.here, object_id) < 1.5 * ranges
    assert sum(sent(station, object_id) for station in world.stations) == 4 * ranges
    entry = world.owner.entries[object_id]
    await until(lambda: len(entry.copies) == 4)
    assert not world.owner.directory.copying(object_id)


async def test_ranges_are_passed_on_while_others_are_still_to_come(world) -> None:
    object_id, content, place = await publish(world, world.here)
    world.here.source.most = 5
    first = asyncio.ensure_future(world.locate(world.there, object_id, place))
    await until(lambda: sent(world.here, object_id) > 5)
    second = asyncio.ensure_future(world.locate(world.third, object_id, place))
    await until(lambda: sent(world.there, object_id) > 5)
    assert not first.done()
    world.here.source.gate.set()
    for station, copy in [(world.there, await first), (world.third, await second)]:
        assert station.read(object_id, copy) == content
    assert sent(world.here, object_id) == RANGES


async def test_who_passes_an_object_on_may_die_in_the_middle(world) -> None:
    object_id, content, place = await publish(world, world.here)
    world.there.source.most = 3
    first = asyncio.ensure_future(world.locate(world.there, object_id, place))
    await until(lambda: world.owner.directory.copying(object_id))
    second = asyncio.ensure_future(world.locate(world.third, object_id, place))
    await until(lambda: sent(world.there, object_id) > 3)
    await first
    await world.there.lose_everything()
    copy = await second
    assert world.third.read(object_id, copy) == content
    assert sent(world.here, object_id) <= 2 * RANGES - 3, "what had come already was not fetched again"


async def test_a_source_that_is_lost_in_the_middle_is_replaced_and_the_rest_comes_from_there(world) -> None:
    object_id, content, place = await publish(world, world.here)
    copy = await world.locate(world.there, object_id, place)
    await until(lambda: world.owner.entries[object_id].copies)
    world.here.source.opened.clear()
    world.here.source.most = 6
    reading = asyncio.ensure_future(world.locate(world.third, object_id, place))
    await until(lambda: sent(world.here, object_id) > 6)
    await world.here.lose_everything()
    found = await reading
    assert world.third.read(object_id, found) == content
    assert sent(world.there, object_id) <= RANGES - 6 + 4, "what had come already was not fetched again"
    assert world.owner.entries[object_id].location == copy, "the copy is the primary one now"


async def test_an_object_whose_only_node_is_lost_in_the_middle_is_absent_and_its_memory_comes_back(world) -> None:
    object_id, _, place = await publish(world, world.here)
    world.here.source.most = 6
    reading = asyncio.ensure_future(world.locate(world.third, object_id, place))
    await until(lambda: sent(world.here, object_id) > 6)
    await world.here.lose_everything()
    assert await reading is None
    await until(lambda: memory(world.third) == 0)


async def test_a_copy_that_went_wrong_is_noticed_by_whoever_gets_it_and_given_up(world) -> None:
    object_id, content, place = await publish(world, world.here)
    copy = await world.locate(world.there, object_id, place)
    entry = world.owner.entries[object_id]
    await until(lambda: entry.copies)
    entry.location, entry.copies = copy, Copies(place)  # so that it is asked first
    world.there.store.arena.memory[copy.offset + SIZE // 2] ^= 1
    found = await world.locate(world.third, object_id, copy)
    assert world.third.read(object_id, found) == content
    assert entry.location == place
    assert (object_id, copy) in world.owner.freed


@pytest.mark.parametrize("step", ["_reserve", "_find", "_prepare", "_fetch"])
async def test_a_defect_in_a_step_ends_it_and_not_the_waiting(world, step, monkeypatch) -> None:
    object_id, content, place = await publish(world, world.here)
    puller = world.there.desk._puller
    work, failed = getattr(puller, step), []

    async def fails_once(command):
        if not failed:
            failed.append(command)
            raise ValueError("a defect")
        return await work(command)

    monkeypatch.setattr(puller, step, fails_once)
    with contextlib.suppress(RemoteCallError):  # that there is no memory for it
        await world.locate(world.there, object_id, place)
    copy = await world.locate(world.there, object_id, place)
    assert world.there.read(object_id, copy) == content
    assert failed


async def test_a_copy_of_a_copy_may_lie_anywhere(world) -> None:
    for station in (world.there, world.third):  # so that offsets and grants differ
        await station.write(os.urandom(28), world.process.address, b"x" * MIB)
    await world.third.write(os.urandom(28), world.process.address, b"x" * MIB)
    object_id, content, place = await publish(world, world.here)
    copy = await world.locate(world.there, object_id, place)
    await until(lambda: world.owner.entries[object_id].copies)
    world.here.source.empty = True
    found = await world.locate(world.third, object_id, copy)
    assert world.third.read(object_id, found) == content
    assert len({place.offset, copy.offset, found.offset}) == 3


async def test_pieces_of_two_objects_of_one_name_are_not_joined(world) -> None:
    """A task ran twice, and its results differ; the second one is what is left when the first is lost in the middle."""
    object_id, _, place = await publish(world, world.here)
    other = os.urandom(SIZE)
    again = await world.there.write(object_id, world.process.address, other)
    world.owner.entries[object_id].copies = Copies(again)
    world.here.source.most = 6
    reading = asyncio.ensure_future(world.locate(world.third, object_id, place))
    await until(lambda: sent(world.here, object_id) > 6)
    await world.here.lose_everything()
    assert world.third.read(object_id, await reading) == other


async def test_a_reader_that_gives_up_and_comes_back_finds_more_than_it_left(world) -> None:
    object_id, content, place = await publish(world, world.here)
    world.here.source.most = 6
    reading = asyncio.ensure_future(world.locate(world.third, object_id, place))
    await until(lambda: sent(world.here, object_id) > 6)
    reading.cancel()
    world.here.source.gate.set()
    await until(lambda: world.third.objects == 1)
    copy = await world.locate(world.third, object_id, place)
    assert world.third.read(object_id, copy) == content
    assert sent(world.here, object_id) == RANGES


async def test_a_reader_that_dies_ends_the_transfer(world) -> None:
    object_id, _, place = await publish(world, world.here)
    world.here.source.most = 6
    reading = asyncio.ensure_future(world.locate(world.third, object_id, place))
    await until(lambda: sent(world.here, object_id) > 6)
    await world.process.close()
    await until(lambda: memory(world.third) == 0)
    world.here.source.gate.set()
    with pytest.raises(Exception, match="channel"):
        await reading


async def test_what_is_wanted_ahead_of_need_comes_if_there_is_room(world) -> None:
    object_id, content, place = await publish(world, world.here)
    want = WantObjects([WantedObject(object_id, world.process.address, place)], soon=True)
    world.process.notify(world.third.process.address, NODE, want)
    await until(lambda: world.third.objects == 1)
    assert sent(world.here, object_id) == RANGES
    copy = await world.locate(world.third, object_id, place)
    assert world.third.read(object_id, copy) == content
    assert sent(world.here, object_id) == RANGES


async def test_what_is_wanted_ahead_of_need_takes_nothing_from_anybody(world) -> None:
    kept = await world.third.write(os.urandom(28), world.process.address, b"y" * (100 * MIB))
    object_id, _, place = await publish(world, world.here)
    want = WantObjects([WantedObject(object_id, world.process.address, place)], soon=True)
    world.process.notify(world.third.process.address, NODE, want)
    await asyncio.sleep(0.3)
    assert sent(world.here, object_id) == 0
    world.third.store.freed(next(iter(world.third.store._machine.state.objects.by_key.values())).object_id, kept.offset)
    await until(lambda: world.third.objects == 1)  # now there is room


async def test_readers_of_more_than_a_store_holds_are_served_one_after_the_other(world) -> None:
    """Nobody keeps what it has read, so each finds room in the end."""
    places = [await publish(world, station, 48 * MIB) for station in (world.here, world.here, world.there, world.there)]

    async def read(object_id: bytes, content: bytes, place: Location) -> None:
        body = LocateObject(object_id, world.process.address, place)
        while True:
            try:
                await world.process.request(world.third.process.address, NODE, body, PATIENCE)
            except RemoteCallError:  # full: others were read first
                continue
            return

    async with asyncio.timeout(20):
        await asyncio.gather(*(read(*each) for each in places))
    stats = world.third.store.stats()
    assert stats.resident + stats.granted <= CAPACITY
    await until(lambda: memory(world.third) == 0)


async def test_closing_does_not_wait_for_a_peer_that_has_stopped_reading(world) -> None:
    object_id, _, place = await publish(world, world.here)
    world.here.source.most = 5
    reader = asyncio.ensure_future(world.locate(world.there, object_id, place))
    await until(lambda: object_id in world.there.source.arriving)
    reading = await world.there.source.open(object_id.hex())
    await asyncio.wait_for(world.there.desk.close(), PATIENCE)
    reading.release()
    world.here.source.gate.set()
    reader.cancel()


async def test_what_a_busy_source_says_is_passed_on_unopened(world, monkeypatch) -> None:
    """Node processes unpickle nothing."""
    object_id, _, place = await publish(world, world.here)

    def refuse(channel, call) -> None:
        channel.reply(call.call_id, serialize_error(ObjectStoreFullError("no room there")), failed=True)

    def opened(_: bytes) -> None:
        raise AssertionError("a node process unpickles")

    world.here.process.actors[NODE].methods["LocateObject"] = refuse
    monkeypatch.setattr(failure.pickle, "loads", opened)
    with pytest.raises(RemoteCallError) as caught:
        await world.locate(world.there, object_id, place)
    assert "no room there" in failure_summary(caught.value.body)
    assert "pickle" not in failure_summary(caught.value.body)
