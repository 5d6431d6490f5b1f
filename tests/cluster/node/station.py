"""Nodes without workers: the stores of several, an owner, and the ways between them."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable

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
from limelight.actors.native.copies import Copies
from limelight.actors.native.directory import Directory
from limelight.actors.native.entry import STORED, ObjectEntry
from limelight.cluster.node.object_source import ObjectSource
from limelight.cluster.node.store_desk import StoreDesk
from limelight.cluster.store.store import ObjectStore
from limelight.cluster.system_process import SystemActor, SystemProcess
from limelight.transport.address import ProcessAddress
from limelight.transport.channel import Channel
from limelight.transport.endpoint import Endpoint
from limelight.transport.protocol import Call
from limelight.transport.shm.arena import PAGE, Arena
from limelight.transport.shm.stored_object import object_size

MIB = 1 << 20
CAPACITY = 32 * MIB
"""Of each store."""
TOKEN = bytes(range(32))
PATIENCE = 10.0


class Counted(ObjectSource):
    """Counts the ranges of which objects were asked for.

    When they are `most`, the others wait for the `gate`; when it is `empty`, they are not to be had.
    """

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.opened: Counter[str] = Counter()
        self.most = 1 << 30
        self.gate = asyncio.Event()
        self.empty = False

    async def open(self, name: str):
        self.opened[name] += 1
        if self.opened.total() > self.most:
            await self.gate.wait()
        if self.empty:
            raise KeyError(name)
        return await super().open(name)


class Station:
    """A node without workers: its process, store and desk."""

    def __init__(self, folder, peers: dict[str, ProcessAddress], capacity: int = CAPACITY, tcp: str = "") -> None:
        self.node_id = secrets.token_bytes(28)
        self.store = ObjectStore(Arena.create(capacity), capacity, None, lambda *_: None, grant_timeout=0.3)
        self.source = Counted(self.store)
        self.process = SystemProcess()
        self.peers = peers
        self.path = str(folder / self.node_id.hex()[:8])
        self._tcp = tcp

    async def start(self) -> "Station":
        await self.process.start(make_endpoint(self.process, self.path, self.source, self._tcp))
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

    async def lose_everything(self) -> None:
        """What the node has is gone; then so is the node."""
        self.source.empty = True
        self.source.gate.set()
        await self.close()

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

    def on_cancelled(self, channel, call_id) -> None:
        self._desk.cancelled(channel.peer.process_id, call_id)


class Owner(SystemActor):
    """A driver's core, as far as nodes talk to it."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.copies: list[ObjectCopied] = []
        self.untold: list[Callable[[], None]] = []
        self.asked = 0
        self.entries: dict[bytes, ObjectEntry] = {}
        self.freed: list[tuple[bytes, Location]] = []
        self.directory = Directory(self.entries.get, lambda *copy: self.freed.append(copy), self._recover)
        self.methods = {
            "ObjectCopied": self._on_copied,
            "TellSealed": self._on_tell_sealed,
            "FindSource": self.directory.on_find_source,
            "CopyDropped": self.directory.on_dropped,
            "PullEnded": self.directory.on_pull_ended,
        }

    def own(self, object_id: bytes, *locations: Location) -> ObjectEntry:
        """From now on it knows of an object and its copies, the primary first."""
        entry = self.entries[object_id] = ObjectEntry(None, object_id)  # pyright: ignore[reportArgumentType]
        entry.state, entry.location, entry.copies = STORED, locations[0], Copies(*locations[1:])
        return entry

    def _recover(self, entry: ObjectEntry, _: Location | None) -> None:
        assert entry.copies
        entry.location = entry.copies.pop()

    def _on_copied(self, channel: Channel, call: Call) -> None:
        self.copies.append(decoder_of(ObjectCopied).decode(call.body))
        self.directory.on_copied(channel, call)

    def on_lost(self, channel, error) -> None:
        self.directory.process_lost(channel.peer.process_id)

    def _on_tell_sealed(self, channel: Channel, call: Call) -> None:
        self.asked += 1
        while self.untold:
            self.untold.pop()()
        channel.reply(call.call_id, b"")


def make_endpoint(
    process: SystemProcess,
    path: str,
    source: ObjectSource | None = None,
    tcp: str = "",
    info: dict[str, str] | None = None,
) -> Endpoint:
    """With `tcp`, an address to listen on, it is on a host of its own."""
    return Endpoint(
        process_id=secrets.token_hex(16),
        host_id=tcp or "here",
        token=TOKEN,
        unix_path="" if tcp else path,
        tcp=tcp,
        info=info or {},
        handler=process,
        bulk=source,
    )


class World:
    """Three nodes, or more, and an owner."""

    def __init__(self, folder, count: int = 3, capacity: int = CAPACITY) -> None:
        self._folder = folder
        self._count, self._capacity = count, capacity
        self._peers: dict[str, ProcessAddress] = {}

    async def start(self) -> "World":
        self.stations = [await Station(self._folder, self._peers, self._capacity).start() for _ in range(self._count)]
        self.here, self.there, self.third = self.stations[:3]
        self.process = SystemProcess()
        await self.process.start(make_endpoint(self.process, str(self._folder / "owner")))
        self.owner = Owner()
        self.process.actors[CORE] = self.owner
        return self

    async def close(self) -> None:
        await self.process.close()
        for station in self.stations:
            await station.close()

    async def locate(self, station: Station, object_id: bytes, hint: Location) -> Location | None:
        body = LocateObject(object_id, self.process.address, hint)
        answer = await self.process.request(station.process.address, NODE, body, PATIENCE)
        return decoder_of(Location).decode(answer) if answer else None

    def tell(self, station: Station, body: ObjectFreed | KeepObject) -> None:
        self.process.notify(station.process.address, NODE, body)
