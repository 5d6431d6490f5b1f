"""Where a pull comes from: choosing a source, and leaving it for another when it fails or is slow."""

from collections.abc import Iterable
from typing import Protocol

from .command import Abort, AnyCommand, Find, Prepare, StartOver
from .event import Fault, Found, SourceFailed
from .pace import WINDOW, Pace
from .pull import Pull, Stage

GRACE = 5.0
"""Seconds for which a source that breaks again and again is tried before it counts as lost."""
RETRY_PAUSE = 0.05
"""Seconds before a range is asked for again; as long again as it has failed, at most `LONGEST_PAUSE`."""
LONGEST_PAUSE = 1.0
WRONG = 2
"""A source that has sent wrong bytes so often is not asked any more."""


class End(Protocol):
    """Ends a pull that cannot be had, for want of sources or (`full`) of memory."""

    def __call__(self, pull: Pull, message: str = "", full: bool = False, drop: bool = True) -> list[AnyCommand]:
        """What to do then."""
        ...


class Sourcing:
    """The part of the machine's decisions that is about sources."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._pace = Pace()

    def begin(self, pull: Pull, now: float, ask: bool) -> list[AnyCommand]:
        """There is memory for it: choose the first source."""
        if pull.stage is not Stage.RESERVING:
            return []
        pull.not_before = now
        if ask or not pull.hint:
            return self._find(pull, now)
        return self._use(pull, pull.hint, False, now)

    def found(self, pull: Pull, event: Found, now: float) -> list[AnyCommand]:
        """The owner has named a source, or knows of none (any more)."""
        if event.question != pull.question:
            return []
        if pull.stage is Stage.FINDING:
            if event.node:
                return self._use(pull, event.node, event.partial, now)
            return self._use_what_is_left(pull, now)
        if pull.asking:
            pull.asking = False
            if event.node and event.node != pull.source:
                return [*self._ground(pull), *self._use(pull, event.node, event.partial, now)]
        return []

    def prepared(self, pull: Pull, node: bytes, now: float) -> list[AnyCommand]:
        """The source has the object in memory."""
        if pull.stage is Stage.PREPARING and node == pull.source:
            self._move(pull, now)
        return []

    def arrived(self, pull: Pull, now: float) -> None:
        """A range has come from the source."""
        pull.doubts.pop(pull.source, None)
        self._pace.arrived(pull, now)

    def failed(self, pull: Pull, event: SourceFailed, now: float) -> list[AnyCommand]:
        """Something has not come from a source."""
        node, fault = event.node, event.fault
        if node != pull.source or pull.stage not in {Stage.PREPARING, Stage.MOVING}:
            return []
        pull.message = event.message
        if fault is Fault.CORRUPT:
            pull.wrong[node] = pull.wrong.get(node, 0) + 1
            if pull.wrong[node] < WRONG:
                return []
        elif fault is Fault.BROKEN and pull.stage is Stage.MOVING:
            since = pull.doubts.setdefault(node, now)
            if now < since + GRACE:
                return self._doubt(pull, now - since, now)
        pull.rule_out(node, lost=fault in {Fault.ABSENT, Fault.BROKEN, Fault.CORRUPT})
        pull.busy |= fault is Fault.BUSY
        pull.changed |= fault is Fault.CHANGED
        return [*self._ground(pull), *self._find(pull, now)]

    def tick(self, pull: Pull, now: float) -> list[AnyCommand]:
        """Time has passed."""
        if pull.stage is Stage.MOVING and not pull.asking and self._pace.is_slow(pull, now):
            return [self._ask_on(pull)]
        return []

    def wake_times(self, pull: Pull, now: float) -> Iterable[float]:
        """When a pull needs a `tick`."""
        if pull.stage is Stage.MOVING:
            if not pull.asking:
                yield pull.paced_at + WINDOW
            if pull.missing and not pull.flying and pull.not_before > now:
                yield pull.not_before

    def _doubt(self, pull: Pull, failing: float, now: float) -> list[AnyCommand]:
        """The source may come back: try it again in a moment, and ask meanwhile whether there is another."""
        pull.not_before = now + min(max(RETRY_PAUSE, failing), LONGEST_PAUSE)
        return [] if pull.asking or not failing else [self._ask_on(pull)]

    def _ask_on(self, pull: Pull) -> AnyCommand:
        pull.asking = True
        return self._question(pull, {pull.source})

    def _find(self, pull: Pull, now: float) -> list[AnyCommand]:
        pull.stage, pull.since, pull.source, pull.asking = Stage.FINDING, now, b"", False
        return [self._question(pull, set())]

    @staticmethod
    def _question(pull: Pull, doubted: set[bytes]) -> AnyCommand:
        pull.question += 1
        avoid = tuple(sorted(pull.out | doubted))
        return Find(pull.number, pull.question, pull.object_id, pull.owner, avoid, tuple(sorted(pull.lost)))

    def _use(self, pull: Pull, node: bytes, partial: bool, now: float) -> list[AnyCommand]:
        if node in pull.out:
            return self._use_what_is_left(pull, now)
        pull.source, pull.not_before = node, now
        if partial:
            self._move(pull, now)
            return []
        pull.stage, pull.since = Stage.PREPARING, now
        return [Prepare(pull.number, node)]

    def _move(self, pull: Pull, now: float) -> None:
        pull.stage, pull.since = Stage.MOVING, now
        self._pace.begin(pull, now)

    def _use_what_is_left(self, pull: Pull, now: float) -> list[AnyCommand]:
        """The owner knows of no (other) source."""
        if pull.hint and pull.hint not in pull.out:
            return self._use(pull, pull.hint, False, now)
        if pull.changed and pull.begun and not pull.anew:
            # The rest of what is here is nowhere to be had any more; but there may be all of another.
            pull.anew = True
            pull.out = set(pull.lost)
            pull.missing = list(range(pull.count))
            return [StartOver(pull.number), *self._find(pull, now)]
        return self._end(pull, pull.message or "its owner knows of no copy of it", full=pull.busy)

    @staticmethod
    def _ground(pull: Pull) -> list[AnyCommand]:
        return [Abort(pull.number, index) for index in pull.ground()]
