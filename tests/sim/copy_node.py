"""A simulated node that copies objects from others: its real pull machine, its store, its link."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec

from limelight.actors.contract import CopyDropped, FindSource, Location, ObjectCopied, PullEnded
from limelight.cluster.node.puller import FIND_S
from limelight.cluster.pull import command as c
from limelight.cluster.pull import event as e
from limelight.cluster.pull.machine import PullLimits, PullMachine
from limelight.cluster.pull.pull import RANGE

if TYPE_CHECKING:
    from .copies import CopyCluster, SimOwner

RATE = 1.25e9
"""Bytes a second and direction: links of 10 Gbit/s."""
TRY_AGAIN = 0.05

Told = ObjectCopied | CopyDropped | PullEnded


class Arriving(msgspec.Struct):
    """A pull that has memory: which ranges have come, and who waits here for which."""

    asked: c.Reserve
    here: set[int] = msgspec.field(default_factory=set[int])
    waiting: dict[int, list["Question"]] = msgspec.field(default_factory=lambda: defaultdict(list))


class Question(msgspec.Struct, eq=False):
    """What a node has asked another one for a pull: a range, or (-1) whether it has the object.

    `aborted`: it does not want that any more, and has closed the connection.
    """

    node: "SimNode"
    pull: int
    source: bytes
    object_id: bytes
    index: int = -1
    aborted: bool = False


class SimNode:
    """A node: its real pull machine, its store, its link.

    Attributes:
        copies: what its store holds, by object.
        readers: who waits here, and for what.
        sent, received: ranges that its link has carried, by object.
        begun: how often it began to copy each object.
    """

    def __init__(self, cluster: "CopyCluster", number: int) -> None:
        self.cluster, self.world = cluster, cluster.world
        self.id, self.name = number.to_bytes(28, "big"), f"n{number}"
        self.alive = True
        self.machine = PullMachine(PullLimits(), lambda _: 1 << 40)
        self.copies: dict[bytes, Location] = {}
        self.readers: dict[e.Who, tuple[SimOwner, bytes]] = {}
        self.sent: Counter[bytes] = Counter()
        self.received: Counter[bytes] = Counter()
        self.begun: Counter[bytes] = Counter()
        self.asked_of: dict[Question, None] = {}  # what others have asked of this one
        self._owners: dict[bytes, SimOwner] = {}
        self._reserved: dict[int, c.Reserve] = {}
        self._arriving: dict[int, Arriving] = {}
        self._by_object: dict[bytes, Arriving] = {}
        self._flying: dict[tuple[int, int], Question] = {}
        self._preparing: dict[int, Question] = {}
        self._up_free = self._down_free = 0.0
        self._wakes = float("inf")
        self._numbers = 0

    # --- the store, and who reads ---

    def keep(self, object_id: bytes, size: int) -> Location:
        self._numbers += 1
        place = self.copies[object_id] = Location(self.id, self._numbers, size)
        return place

    def drop(self, object_id: bytes) -> None:
        """A copy makes room; what was made here may not."""
        owner = self._owners.get(object_id)
        if owner is not None and object_id in self.copies and owner.entries[object_id].location.node_id != self.id:
            self.tell(owner, CopyDropped(object_id, self.copies.pop(object_id)))

    def read(self, owner: "SimOwner", object_id: bytes) -> None:
        """A reader that waits until the object is here."""
        if object_id in self.copies or not self.alive:
            self.cluster.waits_no_more(self.id, object_id)
            return
        self._numbers += 1
        who = (self.name, self._numbers)
        self.readers[who] = (owner, object_id)
        self.cluster.waiting.add((self.id, object_id))
        self._owners[object_id] = owner
        at = owner.entries[object_id].location
        self.feed(e.Wanted(object_id, owner.address, who, e.Priority.BLOCKED, at.size, at.node_id))

    def _answered(self, answer: c.Answer) -> None:
        owner, object_id = self.readers.pop(answer.who)
        if answer.message:
            owner.missed(object_id)
            self.world.after(TRY_AGAIN, self.read, owner, object_id)
        else:
            assert object_id in self.copies
            self.cluster.waits_no_more(self.id, object_id)

    # --- the machine ---

    def feed(self, event: e.AnyEvent) -> None:
        if not self.alive:
            return
        for command in self.cluster.run("puller", self.machine.handle, event, self.world.now):
            self._execute(command)
        at = self.machine.wake_at(self.world.now)
        if at is not None and at < self._wakes:
            self._wakes = at
            self.world.at(at, self._tick, at)

    def _tick(self, at: float) -> None:
        if self._wakes == at:
            self._wakes = float("inf")
            self.feed(e.Tick())

    def _execute(self, command: c.AnyCommand) -> None:
        match command:
            case c.Reserve():
                self._reserved[command.pull] = command
                self.world.after(0.0, self._reserve, command)
            case c.Find():
                self._find(command)
            case c.Prepare(pull, node_id):
                question = self._preparing[pull] = Question(self, pull, node_id, self._reserved[pull].object_id)
                self.cluster.ask(question)
            case c.Fetch(pull, index, node_id):
                request = self._flying[pull, index] = Question(
                    self, pull, node_id, self._reserved[pull].object_id, index
                )
                self.cluster.ask(request)
            case c.Abort(pull, index):
                self.cluster.take_back(self._flying.pop((pull, index)))
            case c.StartOver(pull):
                self._arriving[pull].here.clear()
            case c.Finish(pull):
                self._finish(pull)
            case c.Drop(pull):
                self._drop(pull)
            case c.Answer():
                self._answered(command)

    def _reserve(self, command: c.Reserve) -> None:
        if command.pull in self._reserved:
            self._arriving[command.pull] = self._by_object[command.object_id] = Arriving(command)
            self.begun[command.object_id] += 1
            self.feed(e.Granted(command.pull))

    def _find(self, command: c.Find) -> None:
        owner = self._owners[command.object_id]
        if self.cluster.goes_wrong():  # the owner's process is paused, say, until it does not matter any more
            self.world.after(FIND_S, self.feed, e.Found(command.pull, command.question, b""))
            return
        asked = FindSource(command.object_id, self.id, command.avoid, command.lost)
        self.world.send(self.name, owner.address.process_id, self._ask, owner, command, asked)

    def _ask(self, owner: "SimOwner", command: c.Find, asked: FindSource) -> None:
        if not self.alive:
            return  # its channel is lost
        found = owner.find(self, asked)
        assert found.node_id not in {self.id, *asked.avoid, *asked.lost}
        event = e.Found(command.pull, command.question, found.node_id, found.partial, found.size)
        self.world.send(owner.address.process_id, self.name, self.feed, event)

    def tell(self, owner: "SimOwner", told: Told) -> None:
        """Owners hear what they are told, or that the channel was lost; then a copy they do not know of is dropped."""
        name = owner.address.process_id
        if not self.cluster.goes_wrong():
            self.world.send(self.name, name, owner.hear, told)
            return
        self.world.send(self.name, name, owner.process_lost, self.name)
        if isinstance(told, ObjectCopied):
            self.cluster.waiting.add((self.id, told.object_id))
            self.world.after(TRY_AGAIN, self._cut_off, owner, told.object_id, told.location)

    def _cut_off(self, owner: "SimOwner", object_id: bytes, place: Location) -> None:
        if self.copies.get(object_id) == place:
            del self.copies[object_id]
        self.read(owner, object_id)

    def _finish(self, pull: int) -> None:
        asked, arriving = self._reserved.pop(pull), self._arriving.pop(pull)
        object_id, count = asked.object_id, -(-asked.size // RANGE)
        assert arriving.here == set(range(count)), "all of it is there"
        assert not any(arriving.waiting.values())
        del self._by_object[object_id]
        self.tell(self._owners[object_id], ObjectCopied(object_id, self.keep(object_id, asked.size)))

    def _drop(self, pull: int) -> None:
        asked, arriving = self._reserved.pop(pull), self._arriving.pop(pull, None)
        self._preparing.pop(pull, None)
        for key in [key for key in self._flying if key[0] == pull]:
            self.cluster.take_back(self._flying.pop(key))
        if arriving is not None:
            del self._by_object[asked.object_id]
            self.tell(self._owners[asked.object_id], PullEnded(asked.object_id, self.id))
            for request in [request for waiting in arriving.waiting.values() for request in waiting]:
                self.refuse(request)

    # --- the link ---

    def asked(self, request: Question) -> None:
        """Another node wants to know whether it can have an object here, or wants a range of it: once that has come."""
        if request.aborted:
            return
        self.asked_of[request] = None
        if not self.alive:  # nothing answers, until it is noticed why
            if self.id not in self.cluster.nodes:
                self.refuse(request)
            return
        object_id, index = request.object_id, request.index
        arriving = self._by_object.get(object_id)
        if object_id in self.copies:
            self._answer(request)
        elif arriving is None or index < 0:
            self.refuse(request)
        elif index in arriving.here:
            self._send(request)
        else:
            arriving.waiting[index].append(request)

    def _answer(self, request: Question) -> None:
        if request.index >= 0:
            self._send(request)
        else:
            self.asked_of.pop(request, None)
            self.world.send(self.name, request.node.name, request.node.prepared, request)

    def refuse(self, request: Question) -> None:
        self.asked_of.pop(request, None)
        self.world.send(self.name, request.node.name, request.node.failed, request)

    def prepared(self, request: Question) -> None:
        if self._preparing.get(request.pull) is request:
            del self._preparing[request.pull]
            self.feed(e.Prepared(request.pull, request.source))

    def _send(self, request: Question) -> None:
        self._up_free = max(self._up_free, self.world.now) + RANGE / RATE
        self.world.at(self._up_free, self._sent, request)

    def _sent(self, request: Question) -> None:
        """It has left; it is there when the other link has received it."""
        node = request.node
        if self.alive and not request.aborted:
            self.sent[request.object_id] += 1
            node._down_free = max(node._down_free + RANGE / RATE, self.world.now)
            self.world.at(node._down_free, node.receive, self, request)

    def receive(self, source: "SimNode", request: Question) -> None:
        source.asked_of.pop(request, None)
        pull, index = key = request.pull, request.index
        if not self.alive or self._flying.get(key) is not request:
            return
        self.received[request.object_id] += 1
        del self._flying[key]
        arriving = self._arriving[pull]
        arriving.here.add(index)
        for waiting in arriving.waiting.pop(index, ()):
            self._send(waiting)
        self.feed(e.Arrived(pull, index))

    def failed(self, request: Question) -> None:
        """A range will not come: there is no such object at the source, or no such node."""
        pull, index = key = request.pull, request.index
        if self._flying.get(key) is request:
            del self._flying[key]
            self.feed(e.RangeFailed(pull, index, e.Fault.ABSENT, "it is not there"))
        elif self._preparing.get(pull) is request:
            del self._preparing[pull]
            self.feed(e.SourceFailed(pull, request.source, e.Fault.ABSENT, "it is not there"))

    def take_back(self, request: Question) -> None:
        """Who asked for a range wants it no more, at least not from here."""
        request.aborted = True
        self.asked_of.pop(request, None)
        arriving = self._by_object.get(request.object_id)
        if arriving is not None and request in arriving.waiting.get(request.index, ()):
            arriving.waiting[request.index].remove(request)

    def die(self) -> None:
        """It does and answers nothing more."""
        self.alive = False
        for _, object_id in self.readers.values():
            self.cluster.waits_no_more(self.id, object_id)

    def check_empty(self) -> None:
        """Nothing is under way, and nobody waits."""
        assert not self.readers
        assert not len(self.machine)
        assert not self._reserved
        assert not self._by_object
        assert not self._flying
        assert not self._preparing
        assert not self.asked_of
