"""Objects between the stores of several nodes: copied when they are wanted, freed together, and nobody's when lost."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from limelight.actors.contract import CORE, KeepObject, Location, ObjectCopied, ObjectFreed
from limelight.actors.serialization import deserialize_error
from limelight.cluster.system_process import SystemProcess
from limelight.transport.error import RemoteCallError
from limelight.transport.shm.arena import PAGE
from tests.waiting import until

from .station import MIB, Owner, World, make_endpoint


@pytest_asyncio.fixture
async def world(tmp_path_factory) -> AsyncIterator[World]:
    made = await World(tmp_path_factory.mktemp("w")).start()
    yield made
    await made.close()


async def test_a_copy_is_bit_for_bit_the_object_and_its_owner_hears_of_it(world) -> None:
    object_id, content = os.urandom(28), os.urandom(5 * MIB + 17)
    place = await world.there.write(object_id, world.process.address, content)
    copy = await world.locate(world.here, object_id, place)
    assert copy.node_id == world.here.node_id
    assert world.here.read(object_id, copy) == content
    await until(lambda: world.owner.copies)
    assert world.owner.copies == [ObjectCopied(object_id, copy)]


async def test_an_object_of_which_its_node_has_not_heard_yet_is_asked_for(world) -> None:
    object_id, content = os.urandom(28), os.urandom(MIB)
    place = await world.there.write(object_id, world.process.address, content, untold=world.owner.untold)
    assert world.there.objects == 0
    await world.process.endpoint.connect(world.there.process.address)
    copy = await world.locate(world.here, object_id, place)
    assert world.here.read(object_id, copy) == content
    assert world.owner.asked == 1


async def test_what_a_worker_made_and_has_not_told_of_yet_is_asked_for(world) -> None:
    """Its owner has heard of it, which is elsewhere, and so has whoever asks: sooner than the node where it lies."""
    object_id, content = os.urandom(28), os.urandom(MIB)
    worker = Owner()
    process = SystemProcess()
    process.actors[CORE] = worker
    await process.start(make_endpoint(process, world.there.path + "-worker", info={"kind": "worker"}))
    await process.endpoint.connect(world.there.process.address)
    place = await world.there.write(object_id, world.process.address, content, untold=worker.untold)
    copy = await world.locate(world.here, object_id, place)
    assert world.here.read(object_id, copy) == content
    assert worker.asked == 1
    await process.close()


async def test_many_who_miss_something_at_once_ask_in_one_round(world) -> None:
    nowhere = Location(world.there.node_id, 0, PAGE)
    await world.process.endpoint.connect(world.there.process.address)
    assert await asyncio.gather(*(world.locate(world.here, os.urandom(28), nowhere) for _ in range(20))) == [None] * 20
    assert world.owner.asked <= 10


async def test_an_object_that_nobody_has_is_asked_for_once(world) -> None:
    nowhere = Location(world.there.node_id, 0, PAGE)
    await world.process.endpoint.connect(world.there.process.address)
    assert await world.locate(world.here, os.urandom(28), nowhere) is None
    assert world.owner.asked == 1


async def test_those_who_want_the_same_object_share_one_transfer(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, os.urandom(MIB))
    found = await asyncio.gather(*(world.locate(world.here, object_id, place) for _ in range(8)))
    assert len(set(map(str, found))) == 1
    assert world.there.source.opened == {object_id.hex(): 1}
    assert world.here.objects == 1


async def test_what_is_here_already_is_not_fetched(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, b"x" * MIB)
    first = await world.locate(world.here, object_id, place)
    assert await world.locate(world.here, object_id, place) == first
    assert world.there.source.opened.total() == 1


async def test_an_object_is_freed_on_every_node(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, b"x" * MIB)
    copies = [await world.locate(station, object_id, place) for station in (world.here, world.third)]
    for location in (place, *copies):
        world.tell(world.here, ObjectFreed(object_id, location))  # the owner speaks to its own node only
    await until(lambda: not (world.here.objects or world.there.objects or world.third.objects))


async def test_freeing_one_copy_leaves_the_others(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, b"x" * MIB)
    copy = await world.locate(world.here, object_id, place)
    world.tell(world.here, ObjectFreed(object_id, place))
    await until(lambda: not world.there.objects)
    assert await world.locate(world.here, object_id, place) == copy


async def test_nothing_is_found_of_an_object_that_is_gone(world) -> None:
    place = Location(world.there.node_id, 0, PAGE)
    assert await world.locate(world.here, os.urandom(28), place) is None


async def test_nothing_is_found_on_a_node_that_is_gone(world) -> None:
    object_id = os.urandom(28)
    place = await world.third.write(object_id, world.process.address, b"x" * MIB)
    await world.third.close()
    assert await world.locate(world.here, object_id, place) is None
    unknown = Location(os.urandom(28), 0, PAGE)
    assert await world.locate(world.here, object_id, unknown) is None


async def test_copies_make_room_before_anything_else(world) -> None:
    object_id, content = os.urandom(28), os.urandom(20 * MIB)
    place = await world.there.write(object_id, world.process.address, content)
    await world.locate(world.here, object_id, place)
    other = os.urandom(28)
    kept = await world.here.write(other, world.process.address, b"y" * 20 * MIB)  # beside the copy there is no room
    assert world.here.objects == 1
    assert world.here.read(other, kept)[:1] == b"y"
    world.tell(world.here, ObjectFreed(other, kept))
    again = await world.locate(world.here, object_id, place)
    assert world.here.read(object_id, again) == content


async def test_a_copy_that_is_to_be_kept_makes_no_room(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, b"x" * 20 * MIB)
    copy = await world.locate(world.here, object_id, place)
    world.tell(world.third, KeepObject(object_id, copy))  # passed on, once the third node has dialled the first
    (stored,) = world.here.store._machine.state.objects.by_key.values()
    await until(lambda: stored.primary)
    with pytest.raises(Exception, match="store of this node is full"):
        await world.here.write(os.urandom(28), world.process.address, b"y" * 20 * MIB)
    assert world.here.objects == 1


async def test_no_room_for_a_copy_is_said_so(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, b"x" * 20 * MIB)
    await world.here.write(os.urandom(28), world.process.address, b"y" * 20 * MIB)
    with pytest.raises(RemoteCallError) as refused:
        await world.locate(world.here, object_id, place)
    assert "full" in str(deserialize_error(refused.value.body))


async def test_copies_end_with_their_owner(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, b"x" * MIB)
    await world.locate(world.here, object_id, place)
    assert world.here.objects == 1
    await world.process.close()
    await until(lambda: not world.here.objects)
