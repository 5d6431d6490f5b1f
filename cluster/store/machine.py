"""The decisions of one node's object store: events in, commands out, no I/O and no clock.

A range of the arena goes through these hands:

    free ──grant──► granted ──Sealed──► object ──Freed──► waiting for readers ──reclaimed──► free, populated
                       └─────GrantReturned, or ProcessLost and Scanned──────────────────────────►┘
    free, populated ──punch──► free, cold
    object ──Spill──► object, also on disk ──reclaimed──► on disk ──Restore──► object, also on disk

Events may be doubled, late, or in another order than they happened; grants' numbers and objects' keys are never reused,
so that what is out of date finds nothing to act on.
"""

from collections.abc import Callable
from typing import assert_never

from .command import AnyCommand, AskOwner, GrantFailed, GrantReady, MadeCopy, Scan
from .event import (
    AnyEvent,
    Disowned,
    Freed,
    GrantRequested,
    GrantReturned,
    LocateRequested,
    OwnerLost,
    ProcessLost,
    Promoted,
    Punched,
    ReclaimResult,
    RestoreDone,
    Scanned,
    Sealed,
    SpillDone,
    Tick,
)
from .expiring_set import ExpiringSet
from .reading import Reader
from .relief import ASK_AGAIN, GRANT_REST, relieve
from .request import Request
from .residence import Residence
from .shortage import describe_shortage, describe_too_large
from .state import StoreLimits, StoreState

REMEMBER_SECONDS = 600.0
"""How long a message that overtook another is remembered for it."""
REMEMBER_COUNT = 100_000
WANTED_SECONDS = 60.0
"""How long a copy that was fetched ahead of need is kept for its reader, as long as other things can make room."""


class StoreMachine:
    """Decides for one node's store. Not thread-safe.

    Args:
        limits: capacity, high-water mark and the like.
        name_of: what a process is called in messages, by its id.
        readers: tells which processes of this node read objects at the moment.
    """

    def __init__(
        self,
        limits: StoreLimits,
        name_of: Callable[[str], str] = str,
        readers: Callable[[], list[Reader]] = list[Reader],
    ) -> None:
        self.limits = limits
        self.state = StoreState(limits, name_of, readers)
        self._residence = Residence(self.state)
        self._freed_early: ExpiringSet[tuple[bytes, int | None]] = ExpiringSet(REMEMBER_SECONDS, REMEMBER_COUNT)
        self._answered: ExpiringSet[tuple[str, int]] = ExpiringSet(REMEMBER_SECONDS, REMEMBER_COUNT)
        self._now = 0.0

    def handle(self, event: AnyEvent, now: float) -> list[AnyCommand]:  # noqa: C901, PLR0912 - one line an event
        """What to do about `event`, in this order; `now` in seconds of any clock that does not go back."""
        self._now = now
        match event:
            case GrantRequested():
                commands = self._grant_requested(event, now)
            case GrantReturned():
                commands = self._grant_returned(event)
            case Sealed():
                commands = self._sealed(event, now)
            case Freed():
                commands = self._freed(event, now)
            case Promoted():
                commands = self._promoted(event)
            case ProcessLost():
                commands = self._process_lost(event.process, now)
            case OwnerLost():
                commands = self._owner_lost(event.owner, now)
            case Disowned():
                commands = self._disowned(event)
            case Scanned():
                commands = self._scanned(event, now)
            case ReclaimResult():
                commands = self._residence.reclaim_result(event, now)
            case Punched():
                commands = self._punched(event)
            case SpillDone():
                commands = self._residence.spill_done(event, now)
            case LocateRequested():
                commands = self._residence.locate(event, now)
            case RestoreDone():
                commands = self._residence.restore_done(event, now)
            case Tick():
                commands = self._tick(now)
            case _:
                assert_never(event)
        self.state.note_progress(now)
        return commands + self._advance(now)

    def wake_at(self) -> float | None:
        """When to send `Tick`; None: not before another event."""
        state = self.state
        times = [state.next_retry, *(state.hopeless_at(request) for request in state.queue)]
        if len(state.queue):
            times += [
                grant.since + GRANT_REST if grant.asked_at is None else grant.asked_at + ASK_AGAIN
                for grant in state.grants.open.values()
                if not grant.scanning
            ]
        if state.short and state.spill_again_at > self._now:
            times.append(state.spill_again_at)
        return min((time for time in times if time is not None), default=None)

    def _grant_requested(self, event: GrantRequested, now: float) -> list[AnyCommand]:
        process, number = event.process, event.request
        for grant in self.state.grants.of_process(process):
            if grant.request == number:
                return [GrantReady(process, number, grant.number, grant.offset, grant.size)]
        if any(request.number == number for request in self.state.queue.of_process(process)):
            return []
        if (process, number) in self._answered:
            return [GrantFailed(process, number, f"Request {number} was answered before, and its grant is used up.")]
        size, wish = self._pages(event.size), self._pages(event.wish)
        if process in self.state.lost:
            return [GrantFailed(process, number, f"Process {process} was declared lost on this node.")]
        if not 0 < size <= self.limits.capacity:
            return [GrantFailed(process, number, describe_too_large(self.limits.capacity, size))]
        if self.state.used + wish <= self.limits.high_water * self.limits.capacity:
            size = max(size, wish)
        self.state.queue.add(Request(size, now, now + self.limits.grant_timeout, process, number))
        return []

    def _grant_returned(self, event: GrantReturned) -> list[AnyCommand]:
        grant = self.state.grants.carve(event.process, event.grant, event.offset, event.size)
        if grant is not None:
            writer = event.process if event.touched or grant.populated else None
            self.state.free(event.offset, event.size, writer)
        return []

    def _sealed(self, event: Sealed, now: float) -> list[AnyCommand]:
        state = self.state
        if state.grants.carve(event.process, event.grant, event.offset, event.size) is None:
            return []  # doubled, or its process was lost, and the scan has found the object
        stored = state.objects.add(event.object_id, event.owner, event.process, event.offset, event.size, event.primary)
        if event.wanted:
            state.objects.want(stored, now + WANTED_SECONDS)
        here = (event.object_id, event.offset)
        if event.owner in state.lost or here in self._freed_early or (event.object_id, None) in self._freed_early:
            self._freed_early.discard(here)  # a retry may write the object to the same place
            return self._residence.free(stored)
        return []

    def _freed(self, event: Freed, now: float) -> list[AnyCommand]:
        copies = [copy for copy in self.state.objects.copies(event.object_id) if event.offset in {None, copy.home}]
        # Where nobody can still report it as sealed there, it is no early bird but a repetition.
        if not copies and (event.offset is None or self.state.grants.covers(event.offset)):
            self._freed_early.add((event.object_id, event.offset), now)
        return [command for stored in copies for command in self._residence.free(stored)]

    def _promoted(self, event: Promoted) -> list[AnyCommand]:
        for stored in self.state.objects.copies(event.object_id):
            if stored.home == event.offset:
                self.state.objects.promote(stored)
        return []

    def _process_lost(self, process: str, now: float) -> list[AnyCommand]:
        state = self.state
        commands = self._owner_lost(process, now)
        for request in state.queue.of_process(process):
            state.queue.remove(request)
            commands.append(GrantFailed(process, request.number, f"Process {process} was declared lost on this node."))
        for grant in state.grants.of_process(process):
            grant.scanning = True
            ranges = tuple((start, end - start) for start, end in sorted(grant.gaps.items()))
            commands.append(Scan(process, grant.number, ranges))
        state.space.forget_writer(process)
        return commands + self._ask_owners(process)

    def _owner_lost(self, owner: str, now: float) -> list[AnyCommand]:
        self.state.lost.add(owner, now)
        copies = self.state.objects.owned_by(owner)
        return [command for stored in copies for command in self._residence.free(stored)]

    def _ask_owners(self, process: str) -> list[AnyCommand]:
        """A process is lost, and with it perhaps the replies that told of what it made for others."""
        made: dict[str, list[MadeCopy]] = {}
        for stored in self.state.objects.take_made_by(process):
            made.setdefault(stored.owner, []).append(MadeCopy(stored.key, stored.object_id, stored.home))
        return [AskOwner(owner, process, tuple(copies)) for owner, copies in made.items()]

    def _disowned(self, event: Disowned) -> list[AnyCommand]:
        found = [self.state.objects.by_key.get(key) for key in event.keys]
        unknown = [stored for stored in found if stored is not None and not stored.freed]
        return [command for stored in unknown for command in self._residence.free(stored)]

    def _scanned(self, event: Scanned, now: float) -> list[AnyCommand]:
        grant = self.state.grants.open.get(event.grant)
        if grant is None or not grant.scanning:
            return []
        commands: list[AnyCommand] = []
        for found in event.objects:
            commands += self._sealed(
                Sealed(event.process, event.grant, found.object_id, found.owner, found.offset, found.size), now
            )
        if event.grant in self.state.grants.open:
            for offset, size in self.state.grants.close(grant):
                self.state.free(offset, size, event.process)
        return commands + self._ask_owners(event.process)

    def _punched(self, event: Punched) -> list[AnyCommand]:
        size = self.state.punching.pop(event.offset, 0)
        if size:
            self.state.punching_bytes -= size
            self.state.free(event.offset, size, "" if event.error else None)
        return []

    def _tick(self, now: float) -> list[AnyCommand]:
        commands: list[AnyCommand] = []
        for request in self.state.queue:  # first: an object that is tried again would look as if it were leaving
            if self.state.hopeless_at(request) <= now:
                if now < request.deadline and self.state.others_read(request):
                    request.hope_at = now
                    continue
                self.state.queue.remove(request)
                commands += self._give_up(request, now)
        for stored in self.state.due_retries(now):
            commands += self._residence.settle(stored)
        return commands

    def _give_up(self, request: Request, now: float) -> list[AnyCommand]:
        if request.key:
            return self._residence.give_up(request, now)
        message = describe_shortage(self.state, request, now)
        return [GrantFailed(request.process, request.number, message)]

    def _advance(self, now: float) -> list[AnyCommand]:
        """Serve what waits, in order; where memory is short, see to getting some."""
        commands: list[AnyCommand] = []
        relief: list[AnyCommand] | None = None
        state = self.state
        for request in state.queue:
            place = state.space.allocate(request.size, request.process, self.limits.capacity - state.taken)
            if place is not None:
                state.queue.remove(request)
                commands.append(self._serve(request, *place, now))
                continue
            if relief is None:
                relief = relieve(state, now)
            if state.leaving or state.punching:
                break  # help for this one is on its way; others must not take it
        if relief is None and state.short:
            relief = relieve(state, now)
        return commands + (relief or [])

    def _serve(self, request: Request, offset: int, populated: bool, now: float) -> AnyCommand:
        if request.key:
            return self._residence.restore(request, offset)
        process, number, size = request.process, request.number, request.size
        grant = self.state.grants.add(process, number, offset, size, populated, now)
        self._answered.add((process, number), now)
        return GrantReady(process, number, grant.number, offset, size)

    def _pages(self, size: int) -> int:
        return -(-size // self.limits.page) * self.limits.page
