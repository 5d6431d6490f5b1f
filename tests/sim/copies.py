"""A simulated cluster whose nodes copy objects from each other: real directories and pull machines, simulated links.

A node's link sends one range at a time, and receives one at a time, at `RATE`. What goes wrong: nodes die while they
copy and are copied from, copies make room, questions to owners get no answer, and channels to owners are lost with what
was on them. An object that is nowhere any more is made again.
"""

from collections import Counter
from types import SimpleNamespace

from limelight.actors.contract import (
    CORE,
    CopyDropped,
    FindSource,
    Location,
    ObjectCopied,
    PullEnded,
    SourceFound,
    decoder_of,
    encode,
)
from limelight.actors.native.directory import Directory
from limelight.actors.native.entry import STORED, ObjectEntry
from limelight.cluster.pull.pull import RANGE
from limelight.transport.address import ProcessAddress
from limelight.transport.protocol import Call

from .copy_node import RATE, Question, SimNode, Told
from .meter import Meter, unmeasured
from .world import Faults, World

LOSS_NOTICED = 1.0
SOON = 0.05
"""Seconds within which all ask who want an object at once."""


class SimOwner:
    """A process that owns objects, and the real directory of it.

    Attributes:
        made: how often each object was made, which is more than once only where all copies were lost.
    """

    def __init__(self, cluster: "CopyCluster", name: str) -> None:
        self.cluster = cluster
        self.address = ProcessAddress(name, "host")
        self.entries: dict[bytes, ObjectEntry] = {}
        self.made: Counter[bytes] = Counter()
        self.directory = Directory(self.entries.get, cluster.free, self._recover)

    def make(self, object_id: bytes, size: int, node: SimNode) -> None:
        """A task on a node makes an object, perhaps again."""
        entry = self.entries.get(object_id)
        if entry is None:
            entry = self.entries[object_id] = ObjectEntry(None, object_id)  # pyright: ignore[reportArgumentType]
        entry.state, entry.location = STORED, node.keep(object_id, size)
        self.made[object_id] += 1

    def find(self, node: SimNode, asked: FindSource) -> SourceFound:
        answers: list[bytes] = []
        peer = SimpleNamespace(process_id=node.name)
        channel = SimpleNamespace(peer=peer, reply=lambda _, body: answers.append(body))
        call = Call(0, CORE, "FindSource", encode(asked))
        self.cluster.run("directory, asked", self.directory.on_find_source, channel, call)
        return decoder_of(SourceFound).decode(answers[0])

    def hear(self, told: Told) -> None:
        match told:
            case ObjectCopied():
                self._hear(self.directory.on_copied, "ObjectCopied", told)
            case CopyDropped():
                self._hear(self.directory.on_dropped, "CopyDropped", told)
            case PullEnded():
                self._hear(self.directory.on_pull_ended, "PullEnded", told)

    def _hear(self, work, method: str, told: Told) -> None:
        self.cluster.run("directory, told", work, None, Call(0, CORE, method, encode(told)))

    def process_lost(self, name: str) -> None:
        self.cluster.run("directory, told", self.directory.process_lost, name)

    def missed(self, object_id: bytes) -> None:
        """A reader could not have an object: where the first copy is gone, another becomes it, or a task runs again."""
        entry, cluster = self.entries[object_id], self.cluster
        if cluster.has(object_id, entry.location):
            return
        while entry.copies:
            entry.location = entry.copies.pop()
            if cluster.has(object_id, entry.location):
                return
        self.make(object_id, entry.location.size, cluster.any_node())

    def _recover(self, entry: ObjectEntry, _: Location | None) -> None:
        assert entry.copies
        entry.location = entry.copies.pop()

    def free_all(self) -> None:
        """Nobody holds its objects any more."""
        for object_id, entry in self.entries.items():
            for place in (entry.location, *(entry.copies or ())):
                self.cluster.free(object_id, place)
        self.entries.clear()


class CopyCluster:
    """Nodes, owners, and what is between them.

    Args:
        seed: of all that is drawn by lot.
        nodes: how many there are; one that dies is replaced.
        meter: counts what decisions cost.
        faults: how often a question is not answered, or a channel is lost with what an owner was to be told.

    Attributes:
        waiting: which nodes want which object and do not have it yet.
        had_at: when the last one had what it wanted.
        nodes: those that are there, by id, and those whose death nobody has noticed.
        everybody: those that are gone, too.
    """

    def __init__(self, seed: int, nodes: int, meter: Meter | None = None, faults: float = 0.0) -> None:
        self.meter = meter
        self.run = meter.run if meter is not None else unmeasured
        self.world = World(seed, Faults())
        self.faults = faults
        self.nodes: dict[bytes, SimNode] = {}
        self.everybody: list[SimNode] = []
        self.alive: list[SimNode] = []
        self.owners: list[SimOwner] = []
        self.waiting: set[tuple[bytes, bytes]] = set()
        self.had_at = 0.0
        for _ in range(nodes):
            self.add_node()

    def add_node(self) -> None:
        node = SimNode(self, len(self.everybody))
        self.nodes[node.id] = node
        self.alive.append(node)
        self.everybody.append(node)

    def add_owner(self) -> SimOwner:
        owner = SimOwner(self, f"owner {len(self.owners)}")
        self.owners.append(owner)
        return owner

    def waits_no_more(self, node_id: bytes, object_id: bytes) -> None:
        self.waiting.discard((node_id, object_id))
        self.had_at = self.world.now

    def any_node(self) -> SimNode:
        return self.alive[int(self.world.random.random() * len(self.alive))]

    def goes_wrong(self) -> bool:
        return bool(self.faults) and self.world.random.random() < self.faults

    def kill(self, node: SimNode) -> None:
        """A node dies, which others notice after a while; another one joins."""
        self.alive.remove(node)
        node.die()
        self.world.after(LOSS_NOTICED, self._noticed, node)
        self.add_node()

    def _noticed(self, dead: SimNode) -> None:
        del self.nodes[dead.id]
        for request in list(dead.asked_of):
            request.node.failed(request)
        for owner in self.owners:
            owner.process_lost(dead.name)

    def ask(self, request: Question) -> None:
        """Something is asked of a node, which may be gone."""
        source = self.nodes.get(request.source)
        if source is None:
            self.world.after(0.0, request.node.failed, request)
        else:
            self.world.send(request.node.name, source.name, source.asked, request)

    def take_back(self, request: Question) -> None:
        source = self.nodes.get(request.source)
        if source is not None:
            source.take_back(request)

    def has(self, object_id: bytes, place: Location | None) -> bool:
        """Whether there is a copy at a place."""
        node = self.nodes.get(place.node_id) if place is not None else None
        return node is not None and node.alive and node.copies.get(object_id) == place

    def free(self, object_id: bytes, place: Location) -> None:
        """An owner says that nobody needs a copy any more."""
        if self.has(object_id, place):
            del self.nodes[place.node_id].copies[object_id]

    def settle(self, within: float) -> None:
        """Until all who want something have it, and everything has been said."""
        assert self.world.run(lambda: not self.waiting, self.world.now + within), len(self.waiting)
        self.faults = 0.0
        self.world.run(lambda: False, self.world.now + LOSS_NOTICED + 1.0)

    def check(self, most_sent: int) -> None:
        """All is over: each link has carried little, and when the owners free their objects there are none.

        Args:
            most_sent: how many times a node may have sent an object, for each copy of it that was ever there.
        """
        ranges_of = {each: -(-entry.location.size // RANGE) for o in self.owners for each, entry in o.entries.items()}
        for node in self.everybody:
            for object_id, ranges in node.sent.items():
                copies = max(1, node.begun[object_id])
                assert ranges <= most_sent * copies * ranges_of[object_id], (node.name, ranges, copies)
            for object_id, ranges in node.received.items():
                assert ranges <= 2 * node.begun[object_id] * ranges_of[object_id], (node.name, ranges)
        for node in self.alive:
            node.check_empty()
        for owner in self.owners:
            assert not len(owner.directory)
            owner.free_all()
        assert not any(node.copies for node in self.alive)


def broadcast(cluster: CopyCluster, owner: SimOwner, number: int, size: int, deaths: int = 0) -> float:
    """All nodes want an object within a moment; some of them die while they copy it. Returns the seconds it took."""
    object_id, began = number.to_bytes(28, "big"), cluster.world.now
    owner.make(object_id, size, cluster.any_node())
    for node in cluster.alive:
        cluster.world.after(SOON * cluster.world.random.random(), node.read, owner, object_id)
    for node in cluster.world.random.sample(cluster.alive, deaths):
        cluster.world.after((SOON + size / RATE) * cluster.world.random.random(), cluster.kill, node)
    cluster.world.run(lambda: False, began + SOON)
    assert cluster.world.run(lambda: not cluster.waiting, began + 600.0), len(cluster.waiting)
    return cluster.had_at - began


def traffic(cluster: CopyCluster, reads: int, objects: int, size: int, deaths: int = 0) -> None:
    """Nodes read objects of many owners, at half of what their links could carry; half of the copies are dropped."""
    world, random = cluster.world, cluster.world.random
    owners = [cluster.add_owner() for _ in range(max(1, objects // 5))]
    for number in range(objects):
        owners[number % len(owners)].make(number.to_bytes(28, "big"), size, cluster.any_node())
    seconds = 2 * reads * size / RATE / len(cluster.alive)

    def read() -> None:
        number = int(random.random() * objects)
        object_id, node = number.to_bytes(28, "big"), cluster.any_node()
        node.read(owners[number % len(owners)], object_id)
        if random.random() < 0.5:
            world.after(seconds * random.random(), node.drop, object_id)

    for _ in range(reads):
        world.after(seconds * random.random(), read)
    for node in random.sample(cluster.alive, deaths):
        world.after(seconds * random.random(), cluster.kill, node)
    world.run(lambda: False, world.now + 2 * seconds)
