"""The decisions about one node's pulls: events in, commands out. See the package for what they are."""

from collections.abc import Callable
from itertools import count
from typing import assert_never

import msgspec

from .command import Answer, AnyCommand, Drop, Fetch, Finish, Reserve
from .event import (
    AnyEvent,
    Arrived,
    Found,
    Granted,
    PeersWait,
    Prepared,
    Priority,
    ProcessLost,
    RangeFailed,
    Refused,
    SourceFailed,
    Tick,
    Unwanted,
    Wanted,
    Who,
)
from .pull import Pull, Stage
from .sourcing import Sourcing
from .waiting_line import WaitingLine

FULL_PAUSE = 0.5
"""Seconds until memory is asked for again that was refused to a pull for which nobody waits."""
LOOK_AGAIN = 0.2
"""Seconds between looks whether there is room for such a pull."""


class PullLimits(msgspec.Struct, frozen=True):
    """How much is done at a time.

    Attributes:
        budget: bytes of the objects that are being fetched; one is always fetched, however large.
        pulls: how many they are.
        ranges: ranges that are asked for at a time, for all of them.
        ranges_each: and for one.
        patience: seconds after which a pull that waits for memory no longer keeps others waiting.
        ask_from: objects of at least so many bytes are worth asking the owner for the best source.
    """

    budget: int = 1 << 30
    pulls: int = 64
    ranges: int = 8
    ranges_each: int = 4
    patience: float = 0.25
    ask_from: int = 4 << 20


class PullMachine:
    """Decides for one node. Not thread-safe.

    Args:
        limits: how much is done at a time.
        room: bytes that the store could give without taking anything away that somebody needs, for an object wanted
            so urgently.
    """

    def __init__(self, limits: PullLimits, room: Callable[[Priority], int]) -> None:
        self._limits = limits
        self._room = room
        self._numbers = count(1)
        self._line = WaitingLine()
        self._active: dict[int, Pull] = {}
        self._by_object: dict[bytes, Pull] = {}
        self._wants: dict[str, dict[bytes, set[Who]]] = {}
        self._sourcing = Sourcing(self._end)
        self._room_lacks = False

    def __len__(self) -> int:
        return len(self._by_object)

    def find(self, number: int) -> Pull | None:
        """An admitted pull."""
        return self._active.get(number)

    def handle(self, event: AnyEvent, now: float) -> list[AnyCommand]:
        """What to do about `event`, in this order; `now` in seconds of any clock that does not go back."""
        match event:
            case Wanted():
                commands = self._wanted(event, now)
            case Unwanted(object_id, who, linger):
                commands = self._unwanted(object_id, who, linger)
            case ProcessLost(process):
                wants = self._wants.get(process, {})
                gone = [(object_id, who) for object_id, those in list(wants.items()) for who in list(those)]
                commands = [command for object_id, who in gone for command in self._unwanted(object_id, who)]
            case Tick():
                commands = self._tick(now)
            case _:
                pull = self._active.get(event.pull)
                commands = [] if pull is None else self._of_pull(pull, event, now)
        return commands + self._admit(now) + self._fetch(now)

    def wake_at(self, now: float) -> float | None:
        """When to send `Tick`; None: not before another event."""
        times = [time for pull in self._active.values() for time in self._sourcing.wake_times(pull, now)]
        times += [
            pull.since + self._limits.patience
            for pull in self._active.values()
            if pull.stage is Stage.RESERVING and pull.since + self._limits.patience > now
        ]
        if self._line and self._room_lacks:
            times.append(now + LOOK_AGAIN)
        return min(times, default=None)

    # --- who wants what ---

    def _wanted(self, event: Wanted, now: float) -> list[AnyCommand]:
        pull = self._by_object.get(event.object_id)
        if pull is None:
            pull = Pull(next(self._numbers), event.object_id, event.owner, event.size, event.node, now, {})
            self._by_object[event.object_id] = pull
        self._note_want(pull, event.who, event.priority)
        if pull.stage is Stage.QUEUED:
            self._line.put(pull)
        return []

    def _note_want(self, pull: Pull, who: Who, priority: Priority) -> None:
        pull.wants[who] = min(priority, pull.wants.get(who, priority))
        self._wants.setdefault(who[0], {}).setdefault(pull.object_id, set()).add(who)

    def _unwanted(self, object_id: bytes, who: Who, linger: bool = False) -> list[AnyCommand]:
        pull = self._by_object.get(object_id)
        if pull is None or pull.wants.pop(who, None) is None:
            return []
        self._forget_want(object_id, who)
        if linger and pull.stage not in {Stage.QUEUED, Stage.RESERVING}:
            self._note_want(pull, (who[0], 0), Priority.PREFETCH)
        if pull.stage is Stage.QUEUED and pull.wants:
            self._line.put(pull)
        return [] if pull.wants or pull.peers else self._end(pull)

    def _forget_want(self, object_id: bytes, who: Who) -> None:
        mine = self._wants[who[0]]
        mine[object_id].discard(who)
        if not mine[object_id]:
            del mine[object_id]
            if not mine:
                del self._wants[who[0]]

    def _end(self, pull: Pull, message: str = "", full: bool = False, drop: bool = True) -> list[AnyCommand]:
        """A pull is over, for good or bad; who waits hears of it."""
        self._line.remove(pull)
        del self._by_object[pull.object_id]
        commands: list[AnyCommand] = []
        if self._active.pop(pull.number, None) is not None and drop:
            commands.append(Drop(pull.number))
        for who in pull.wants:
            self._forget_want(pull.object_id, who)
            if who[1]:
                commands.append(Answer(who, pull.object_id, message, full))
        pull.wants = {}
        return commands

    # --- one pull ---

    def _of_pull(
        self,
        pull: Pull,
        event: PeersWait | Granted | Refused | Found | Prepared | SourceFailed | Arrived | RangeFailed,
        now: float,
    ) -> list[AnyCommand]:
        commands: list[AnyCommand]
        match event:
            case PeersWait():
                pull.peers = event.count
                commands = [] if pull.wants or pull.peers else self._end(pull)
            case Granted():
                commands = self._sourcing.begin(pull, now, ask=pull.size >= self._limits.ask_from)
            case Refused():
                commands = self._refused(pull, event.message, now)
            case Found():
                commands = self._found(pull, event, now)
            case Prepared():
                commands = self._sourcing.prepared(pull, event.node, now)
            case SourceFailed():
                commands = self._sourcing.failed(pull, event, now)
            case Arrived():
                commands = self._arrived(pull, event.index, now)
            case RangeFailed():
                commands = self._range_failed(pull, event, now)
            case _:
                assert_never(event)
        return commands

    def _found(self, pull: Pull, event: Found, now: float) -> list[AnyCommand]:
        if event.node and event.size != pull.size and pull.stage is Stage.FINDING and event.question == pull.question:
            return self._anew(pull, event.size, now)
        return self._sourcing.found(pull, event, now)

    def _range_failed(self, pull: Pull, event: RangeFailed, now: float) -> list[AnyCommand]:
        if event.index not in pull.flying:
            return []
        pull.put_back(event.index)
        failure = SourceFailed(pull.number, pull.source, event.fault, event.message)
        return self._sourcing.failed(pull, failure, now)

    def _refused(self, pull: Pull, message: str, now: float) -> list[AnyCommand]:
        waiting = [who for who, priority in pull.wants.items() if priority is Priority.BLOCKED]
        if not waiting and pull.wants:
            del self._active[pull.number]
            self._queue_again(pull, pull.size, now + FULL_PAUSE)
            return [Drop(pull.number)]
        return self._end(pull, message, full=True)

    def _anew(self, pull: Pull, size: int, now: float) -> list[AnyCommand]:
        """The object has another size than was heard: begin again with memory for that."""
        del self._active[pull.number]
        self._queue_again(pull, size, now)
        return [Drop(pull.number)]

    def _queue_again(self, pull: Pull, size: int, not_before: float) -> None:
        again = Pull(next(self._numbers), pull.object_id, pull.owner, size, pull.hint, not_before, pull.wants)
        again.not_before, again.anew = not_before, pull.anew
        self._by_object[pull.object_id] = again
        self._line.put(again)

    def _arrived(self, pull: Pull, index: int, now: float) -> list[AnyCommand]:
        if index not in pull.flying:
            return []
        pull.flying.discard(index)
        self._sourcing.arrived(pull, now)
        if not pull.complete:
            return []
        ahead = any(not number for _, number in pull.wants)
        return [Finish(pull.number, ahead), *self._end(pull, drop=False)]

    def _tick(self, now: float) -> list[AnyCommand]:
        return [command for pull in list(self._active.values()) for command in self._sourcing.tick(pull, now)]

    # --- what is done at a time ---

    def _admit(self, now: float) -> list[AnyCommand]:
        commands: list[AnyCommand] = []
        self._room_lacks = False
        while (pull := self._line.first) is not None:
            held = self._held(now)
            if len(self._active) >= self._limits.pulls or (held and held + pull.size > self._limits.budget):
                break
            if pull.priority is not Priority.BLOCKED:
                reserving = sum(p.size for p in self._active.values() if p.stage is Stage.RESERVING)
                if pull.not_before > now or self._room(pull.priority) - reserving < pull.size:
                    self._room_lacks = True
                    break
            self._line.remove(pull)
            self._active[pull.number] = pull
            pull.stage, pull.since = Stage.RESERVING, now
            commands.append(Reserve(pull.number, pull.object_id, pull.owner, pull.size))
        return commands

    def _held(self, now: float) -> int:
        """Bytes of the pulls under way, without those that wait long for memory."""
        patience = self._limits.patience
        return sum(
            pull.size
            for pull in self._active.values()
            if pull.stage is not Stage.RESERVING or now < pull.since + patience
        )

    def _fetch(self, now: float) -> list[AnyCommand]:
        """Ask for ranges, first of what is needed first."""
        commands: list[AnyCommand] = []
        free = self._limits.ranges - sum(len(pull.flying) for pull in self._active.values())
        if free <= 0:
            return commands
        moving = [
            pull
            for pull in self._active.values()
            if pull.stage is Stage.MOVING and pull.missing and pull.not_before <= now
        ]
        for pull in sorted(moving, key=lambda pull: (pull.priority, pull.number)):
            while free > 0 and pull.missing and len(pull.flying) < self._limits.ranges_each:
                commands.append(Fetch(pull.number, pull.take(), pull.source))
                free -= 1
        return commands
