"""Objects between the stores of several nodes: copied when they are wanted, freed together, and nobody's when lost."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from limelight.actors.contract import (
    CORE,
    NODE,
    KeepObject,
    LocateObject,
    Location,
    ObjectCopied,
    ObjectFreed,
    decoder_of,
)
from limelight.actors.serialization import deserialize_error
from limelight.cluster.node.object_source import ObjectSource
from limelight.cluster.node.store_desk import StoreDesk
from limelight.cluster.store.store import ObjectStore
from limelight.cluster.system_process import SystemActor, SystemProcess
from limelight.transport.address import ProcessAddress
from limelight.transport.channel import Channel
from limelight.transport.endpoint import Endpoint
from limelight.transport.error import RemoteCallError
from limelight.transport.protocol import Call
from limelight.transport.shm.arena import PAGE, Arena
from limelight.transport.shm.stored_object import object_size

MIB = 1 << 20
CAPACITY = 32 * MIB
TOKEN = secrets.token_bytes(32)
PATIENCE = 10.0


class Counted(ObjectSource):
    """Counts which objects were asked for."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.opened: list[str] = []

    async def open(self, name: str):
        self.opened.append(name)
        return await super().open(name)


class Station:
    """A node without workers: its process, store and desk."""

    def __init__(self, folder, peers: dict[str, ProcessAddress]) -> None:
        self.node_id = secrets.token_bytes(28)
        self.store = ObjectStore(Arena.create(CAPACITY), CAPACITY, None, lambda *_: None, grant_timeout=0.3)
        self.source = Counted(self.store)
        self.process = SystemProcess()
        self.peers = peers
        self.path = str(folder / self.node_id.hex()[:8])

    async def start(self) -> "Station":
        await self.process.start(make_endpoint(self.process, self.path, self.source))
        self.peers[self.node_id.hex()] = self.process.address
        self.desk = StoreDesk(self.process, self.store, self.source, self.node_id, self.peers.get)
        manager = Manager(self.desk)
        self.process.actors[NODE] = manager
        return self

    async def close(self) -> None:
        self.peers.pop(self.node_id.hex(), None)
        await self.desk.close()
        await self.store.close()
        await self.process.close()

    async def write(
        self, object_id: bytes, owner: ProcessAddress, content: bytes, untold: list[Callable[[], None]] | None = None
    ) -> Location:
        """Store an object as a worker does. Into `untold` goes what tells the store of it, if that is to wait."""
        parts = [b"meta", content]
        size = object_size(parts, PAGE)
        grant = await self.store.grant("ab" * 16, size)
        self.store.arena.write(grant.offset, grant.grant, object_id, bytes.fromhex(owner.process_id), parts)

        def tell() -> None:
            self.store.sealed("ab" * 16, grant.grant, object_id, owner.process_id, grant.offset, size)

        if untold is None:
            tell()
        else:
            untold.append(tell)
        return Location(self.node_id, grant.offset, size)

    def read(self, object_id: bytes, location: Location) -> bytes:
        return bytes(self.store.arena.read(object_id, location.offset)[1])

    @property
    def objects(self) -> int:
        return self.store.stats().objects


class Manager(SystemActor):
    """The part of a node manager that is about objects."""

    def __init__(self, desk: StoreDesk) -> None:
        super().__init__(asyncio.get_running_loop())
        self.methods = desk.methods
        self._desk = desk

    def on_lost(self, channel, error) -> None:
        self._desk.process_lost(channel.peer.process_id)


class Owner(SystemActor):
    """A driver's core, as far as nodes talk to it."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.copies: list[ObjectCopied] = []
        self.untold: list[Callable[[], None]] = []
        self.asked = 0
        self.methods = {
            "ObjectCopied": lambda _, call: self.copies.append(decoder_of(ObjectCopied).decode(call.body)),
            "TellSealed": self._on_tell_sealed,
        }

    def _on_tell_sealed(self, channel: Channel, call: Call) -> None:
        self.asked += 1
        while self.untold:
            self.untold.pop()()
        channel.reply(call.call_id, b"")


def make_endpoint(process: SystemProcess, path: str, source: ObjectSource | None = None) -> Endpoint:
    return Endpoint(
        process_id=secrets.token_hex(16),
        host_id="here",
        token=TOKEN,
        unix_path=path,
        info={},
        handler=process,
        bulk=source,
    )


class World:
    """Three nodes and an owner."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self._peers: dict[str, ProcessAddress] = {}

    async def start(self) -> "World":
        self.here, self.there, self.third = [await Station(self._folder, self._peers).start() for _ in range(3)]
        self.process = SystemProcess()
        await self.process.start(make_endpoint(self.process, str(self._folder / "owner")))
        self.owner = Owner()
        self.process.actors[CORE] = self.owner
        return self

    async def close(self) -> None:
        await self.process.close()
        for station in (self.here, self.there, self.third):
            await station.close()

    async def locate(self, station: Station, object_id: bytes, hint: Location) -> Location | None:
        body = LocateObject(object_id, self.process.address, hint)
        answer = await self.process.request(station.process.address, NODE, body, PATIENCE)
        return decoder_of(Location).decode(answer) if answer else None

    def tell(self, station: Station, body: ObjectFreed | KeepObject) -> None:
        self.process.notify(station.process.address, NODE, body)


@pytest_asyncio.fixture
async def world(tmp_path_factory) -> AsyncIterator[World]:
    made = await World(tmp_path_factory.mktemp("w")).start()
    yield made
    await made.close()


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.005)


async def test_a_copy_is_bit_for_bit_the_object_and_its_owner_hears_of_it(world) -> None:
    object_id, content = os.urandom(28), os.urandom(5 * MIB + 17)
    place = await world.there.write(object_id, world.process.address, content)
    copy = await world.locate(world.here, object_id, place)
    assert copy.node_id == world.here.node_id
    assert world.here.read(object_id, copy) == content
    await eventually(lambda: world.owner.copies)
    assert world.owner.copies == [ObjectCopied(object_id, copy)]


async def test_an_object_of_which_its_node_has_not_heard_yet_is_asked_for(world) -> None:
    object_id, content = os.urandom(28), os.urandom(MIB)
    place = await world.there.write(object_id, world.process.address, content, untold=world.owner.untold)
    assert world.there.objects == 0
    await world.process.endpoint.connect(world.there.process.address)
    copy = await world.locate(world.here, object_id, place)
    assert world.here.read(object_id, copy) == content
    assert world.owner.asked == 1


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
    assert world.there.source.opened == [object_id.hex()]
    assert world.here.objects == 1


async def test_what_is_here_already_is_not_fetched(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, b"x" * MIB)
    first = await world.locate(world.here, object_id, place)
    assert await world.locate(world.here, object_id, place) == first
    assert len(world.there.source.opened) == 1


async def test_an_object_is_freed_on_every_node(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, b"x" * MIB)
    copies = [await world.locate(station, object_id, place) for station in (world.here, world.third)]
    for location in (place, *copies):
        world.tell(world.here, ObjectFreed(object_id, location))  # the owner speaks to its own node only
    await eventually(lambda: not (world.here.objects or world.there.objects or world.third.objects))


async def test_freeing_one_copy_leaves_the_others(world) -> None:
    object_id = os.urandom(28)
    place = await world.there.write(object_id, world.process.address, b"x" * MIB)
    copy = await world.locate(world.here, object_id, place)
    world.tell(world.here, ObjectFreed(object_id, place))
    await eventually(lambda: not world.there.objects)
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
    await eventually(lambda: stored.primary)
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
    await eventually(lambda: not world.here.objects)
