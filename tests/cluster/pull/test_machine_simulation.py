"""Pulls of many nodes, their owner, and a network that loses, delays and damages: all get what there is to get."""

import random
from collections import Counter

import pytest

from limelight.actors.contract import FindSource, Location, ObjectCopied, PullEnded
from limelight.actors.native.directory import Directory
from limelight.actors.native.entry import STORED, ObjectEntry
from limelight.cluster.pull import command as c
from limelight.cluster.pull import event as e
from limelight.cluster.pull.machine import PullLimits, PullMachine
from limelight.cluster.pull.pull import RANGE
from limelight.transport.address import ProcessAddress

OWNER = ProcessAddress("owner", "h")
CAPACITY = 40 * RANGE
STEP = 0.01
STEPS = 3000


class Transfer:
    """What has arrived of a pull: by index, the content's number."""

    def __init__(self, size: int) -> None:
        self.count = -(-size // RANGE)
        self.size = size
        self.ranges: dict[int, int] = {}

    @property
    def tag(self) -> int:
        return next(iter(self.ranges.values()), 0)


class Node:
    """A node: its machine, its copies (by object, the content's number), its readers."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.id = b"%028d" % number
        self.name = f"n{number}"
        self.alive = True
        self.machine = PullMachine(PullLimits(budget=CAPACITY // 2, ranges=6, ask_from=3 * RANGE), self.room)
        self.copies: dict[bytes, int] = {}
        self.transfers: dict[int, Transfer] = {}
        self.reserved: dict[int, c.Reserve] = {}
        self.granted: dict[int, int] = {}
        self.flying: dict[tuple[int, int], c.Fetch] = {}
        self.waiting: dict[e.Who, bytes] = {}
        self.requests = 0

    @property
    def used(self) -> int:
        return sum(self.granted.values()) + sum(self.world.sizes[each] for each in self.copies)

    def room(self, priority: e.Priority) -> int:
        return CAPACITY - self.used

    def read(self, object_id: bytes) -> None:
        self.requests += 1
        who = (f"w{self.world.random.randrange(3)}", self.requests)
        self.waiting[who] = object_id
        self.want(object_id, who, e.Priority.BLOCKED)

    def want(self, object_id: bytes, who: e.Who, priority: e.Priority) -> None:
        entry = self.world.entries[object_id]
        self.feed(e.Wanted(object_id, OWNER, who, priority, entry.location.size, entry.location.node_id))

    def give_up(self) -> None:
        if self.waiting:
            who = self.world.random.choice(list(self.waiting))
            self.feed(e.Unwanted(self.waiting.pop(who), who, linger=self.world.random.random() < 0.5))

    def lose_worker(self) -> None:
        process = f"w{self.world.random.randrange(3)}"
        self.waiting = {who: each for who, each in self.waiting.items() if who[0] != process}
        self.feed(e.ProcessLost(process))

    def feed(self, event: e.AnyEvent) -> None:
        if self.alive:
            for command in self.machine.handle(event, self.world.now):
                self.execute(command)

    def execute(self, command: c.AnyCommand) -> None:
        world = self.world
        match command:
            case c.Reserve():
                self.reserved[command.pull] = command
                world.later(self, lambda: self.reserve(command))
            case c.Find():
                world.later(self, lambda: self.find(command))
            case c.Prepare(pull, node):
                world.later(self, lambda: self.prepare(pull, node))
            case c.Fetch(pull, index, _):
                assert (pull, index) not in self.flying
                self.flying[pull, index] = command
                world.later(self, lambda: self.fetch(command))
            case c.Abort(pull, index):
                del self.flying[pull, index]
            case c.StartOver(pull):
                self.transfers[pull].ranges.clear()
                world.seen["started over"] += 1
            case c.Finish(pull):
                self.finish(pull)
            case c.Drop(pull):
                asked = self.reserved.pop(pull)
                self.flying = {key: each for key, each in self.flying.items() if key[0] != pull}
                if self.granted.pop(pull, 0):
                    del self.transfers[pull]
                    world.tell(PullEnded(asked.object_id, self.id))
            case c.Answer(who, object_id, message, full):
                assert self.waiting.pop(who) == object_id, "everybody is answered once"
                world.seen["full" if full else "absent" if message else "here"] += 1
                assert message or object_id in self.copies
                if message and not full:
                    world.report_lost(object_id)

    def reserve(self, command: c.Reserve) -> None:
        if command.pull not in self.reserved:
            return
        world = self.world
        while self.used + command.size > CAPACITY and self.spare():
            self.drop(world.random.choice(self.spare()))
        if self.used + command.size > CAPACITY:
            self.feed(e.Refused(command.pull, "the store is full"))
        else:
            self.granted[command.pull] = command.size
            self.transfers[command.pull] = Transfer(command.size)
            self.feed(e.Granted(command.pull))

    def spare(self) -> list[bytes]:
        return [each for each in self.copies if self.world.entries[each].location.node_id != self.id]

    def drop(self, object_id: bytes) -> None:
        """It is not told: an owner must do without."""
        del self.copies[object_id]

    def find(self, command: c.Find) -> None:
        world = self.world
        if command.pull not in self.granted:
            return
        found = None
        if world.random.random() > world.faults:
            asked = FindSource(command.object_id, self.id, command.avoid, command.lost)
            found = world.directory.source_for(world.entries[command.object_id], asked, self.name)
            assert found.node_id not in {self.id, *command.avoid}
        if found is None or not found.node_id:
            self.feed(e.Found(command.pull, command.question, b""))
        else:
            world.seen["partial"] += found.partial
            self.feed(e.Found(command.pull, command.question, found.node_id, found.partial, found.size))

    def prepare(self, pull: int, node_id: bytes) -> None:
        if pull not in self.granted:
            return
        node = self.world.nodes[node_id]
        if self.world.random.random() < self.world.faults / 3:
            self.feed(e.SourceFailed(pull, node_id, e.Fault.BUSY, "no memory there"))
        elif node.alive and self.reserved[pull].object_id in node.copies:
            self.feed(e.Prepared(pull, node_id))
        else:
            self.feed(e.SourceFailed(pull, node_id, e.Fault.ABSENT, "not there"))

    def fetch(self, command: c.Fetch) -> None:
        world, pull, index = self.world, command.pull, command.index
        if self.flying.get((pull, index)) is not command:
            return
        object_id, here = self.reserved[pull].object_id, self.transfers[pull]
        fault, content = world.look(world.nodes[command.node], object_id, index, here)
        if fault is None and not content:  # it is still to come there
            world.later(self, lambda: self.fetch(command))
            return
        if fault is None and here.tag and here.tag != content:
            fault = e.Fault.CHANGED
        del self.flying[pull, index]
        assert self.machine.find(pull).source == command.node, "nothing is fetched from a source that was left"
        if fault is not None:
            world.seen[fault.value] += 1
            self.feed(e.RangeFailed(pull, index, fault, fault.value))
        else:
            here.ranges[index] = content
            self.feed(e.Arrived(pull, index))

    def finish(self, pull: int) -> None:
        asked, transfer = self.reserved.pop(pull), self.transfers.pop(pull)
        del self.granted[pull]
        assert not any(each[0] == pull for each in self.flying), "nobody writes there any more"
        assert set(transfer.ranges) == set(range(transfer.count)), "all of it is there"
        assert len(set(transfer.ranges.values())) == 1, "and all is of one object"
        self.copies[asked.object_id] = transfer.tag
        self.world.tell(ObjectCopied(asked.object_id, Location(self.id, 0, asked.size)))


class World:
    """All nodes, the objects and their owner, and what is on its way."""

    def __init__(self, seed: int, nodes: int = 5, objects: int = 8) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.faults = self.random.choice([0.0, 0.02, 0.1])
        self.seen: Counter[str] = Counter()
        self.mail: list[tuple[Node, object]] = []
        self.entries: dict[bytes, ObjectEntry] = {}
        self.directory = Directory(self.entries.get, lambda *_: None, self.recover)
        self.nodes = {node.id: node for node in (Node(self, number) for number in range(nodes))}
        self.sizes: dict[bytes, int] = {}
        self.contents = 0
        for number in range(objects):
            object_id = b"o%027d" % number
            self.entries[object_id] = ObjectEntry(None, object_id)
            self.make(object_id)

    def make(self, object_id: bytes) -> None:
        """A task makes an object, perhaps again, and then of another size and content."""
        self.contents += 1
        entry = self.entries[object_id]
        size = self.sizes.get(object_id, 0)
        if not size or self.random.random() < 0.3:
            size = self.random.randint(1, 12) * RANGE - self.random.choice([0, 4096])
        node = self.random.choice([node for node in self.nodes.values() if node.alive])
        for each in self.nodes.values():
            each.copies.pop(object_id, None)
        self.sizes[object_id] = size
        node.copies[object_id] = self.contents
        entry.state, entry.location, entry.copies = STORED, Location(node.id, 0, size), None

    def recover(self, entry: ObjectEntry, lost: Location | None) -> None:
        assert entry.copies
        entry.location = entry.copies.pop()

    def report_lost(self, object_id: bytes) -> None:
        """A reader could not have it: where nobody has, it is made again."""
        holders = [node for node in self.nodes.values() if node.alive and object_id in node.copies]
        entry = self.entries[object_id]
        if not holders:
            self.make(object_id)
            self.seen["made again"] += 1
        elif entry.location.node_id not in {node.id for node in holders}:
            entry.location, entry.copies = Location(holders[0].id, 0, self.sizes[object_id]), None

    def tell(self, body: ObjectCopied | PullEnded) -> None:
        def deliver() -> None:
            if isinstance(body, PullEnded):
                self.directory.end(body.object_id, body.node_id)
            else:
                self.directory.note_copy(body.object_id, body.location)

        self.mail.append((None, deliver))

    def look(self, source: Node, object_id: bytes, index: int, here: Transfer):
        """What a source answers to a request for a range: a fault, or the content (0: it is still to come)."""
        roll = self.random.random()
        if not source.alive:
            return e.Fault.ABSENT, 0
        if roll < self.faults:
            return e.Fault.BROKEN, 0
        if roll < self.faults * 1.5:
            return e.Fault.CORRUPT, 0
        if object_id in source.copies:
            if self.sizes[object_id] != here.size:
                return e.Fault.CHANGED, 0
            return None, source.copies[object_id]
        for number, asked in source.reserved.items():
            if asked.object_id == object_id and number in source.transfers:
                theirs = source.transfers[number]
                return (e.Fault.CHANGED, 0) if theirs.size != here.size else (None, theirs.ranges.get(index, 0))
        return e.Fault.ABSENT, 0

    def later(self, node: Node, action) -> None:
        self.mail.append((node, action))

    def deliver(self) -> None:
        if self.mail:
            node, action = self.mail.pop(self.random.randrange(len(self.mail)))
            if node is None or node.alive:
                action()

    def tick(self) -> None:
        self.now += STEP
        for node in self.nodes.values():
            if node.alive:
                at = node.machine.wake_at(self.now)
                if at is not None and at <= self.now:
                    node.feed(e.Tick())

    def kill(self) -> None:
        """A node dies."""
        alive = [node for node in self.nodes.values() if node.alive]
        if len(alive) > 2:
            node = self.random.choice(alive)
            node.alive = False
            node.copies.clear()
            self.directory.process_lost(node.name)
            self.seen["died"] += 1

    def step(self) -> None:
        node = self.random.choice([node for node in self.nodes.values() if node.alive])
        object_id = self.random.choice(list(self.entries))
        roll = self.random.random()
        if roll < 0.08 and object_id not in node.copies:
            node.read(object_id)
        elif roll < 0.12 and object_id not in node.copies:
            priority = self.random.choice([e.Priority.ARGUMENT, e.Priority.PREFETCH])
            node.want(object_id, (f"w{self.random.randrange(3)}", 0), priority)
        elif roll < 0.14:
            node.give_up()
        elif roll < 0.145:
            node.lose_worker()
        elif roll < 0.16 and self.faults and node.copies:
            node.drop(self.random.choice(list(node.copies)))
        elif roll < 0.161 and self.faults:
            self.kill()
        elif roll < 0.165 and self.faults:
            self.make(object_id)
        else:
            self.deliver()
        self.tick()

    def drain(self) -> None:
        """Nothing more goes wrong: whoever waits is answered, and whoever does not wants nothing any more."""
        self.faults = 0.0
        for node in self.nodes.values():
            for process in ("w0", "w1", "w2"):
                for object_id in self.entries:
                    node.feed(e.Unwanted(object_id, (process, 0)))
        for _ in range(200_000):
            self.deliver()
            self.tick()
            if not self.mail and not any(node.waiting for node in self.nodes.values() if node.alive):
                return
        raise AssertionError("somebody waits for ever")


@pytest.mark.parametrize("seed", range(25))
def test_all_who_wait_are_answered_and_nothing_is_left(seed):
    world = World(seed)
    for _ in range(STEPS):
        world.step()
    world.drain()
    for node in world.nodes.values():
        if node.alive:
            assert not node.granted, "all memory came back"
            assert not len(node.machine)
            assert not node.flying
            assert not any(node.id in world.directory.copying(object_id) for object_id in world.entries)


def test_the_simulation_reaches_what_it_is_meant_to():
    seen: Counter[str] = Counter()
    for seed in range(25):
        world = World(seed)
        for _ in range(STEPS):
            world.step()
        world.drain()
        seen += world.seen
    expected = {
        "here",
        "absent",
        "full",
        "partial",
        "broken",
        "corrupt",
        "changed",
        "started over",
        "made again",
        "died",
    }
    assert expected <= set(seen), seen
