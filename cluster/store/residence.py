"""How objects leave memory and come back: freeing, reclaiming, spilling, restoring, and who waits for that."""

from .command import AnyCommand, DeleteSpilled, Located, LocateFailed, Restore, TellDropped
from .event import LocateRequested, ReclaimResult, RestoreDone, SpillDone
from .object_table import StoredObject
from .request import Request
from .shortage import describe_shortage
from .state import StoreState

SPILL_BACKOFF = 5.0
"""Seconds without spilling after the storage failed."""


class Residence:
    """The part of the store's decisions that is about one object at a time."""

    def __init__(self, state: StoreState) -> None:
        self._state = state

    def free(self, stored: StoredObject) -> list[AnyCommand]:
        """Nobody needs a copy any more; its memory goes when no reader has it."""
        state = self._state
        state.objects.free(stored)
        commands = self._fail_waiters(stored, "it was freed: its owner does not need it any more, or has ended.")
        request = state.queue.of_object(stored.key)
        if request is not None:
            state.queue.remove(request)
        if stored.url and not stored.restoring:  # else it is being read
            commands.append(DeleteSpilled(stored.url))
            stored.url = ""
        if stored.offset is None and not stored.busy:
            state.objects.forget(stored)
        elif not stored.busy:
            commands.append(state.reclaim(stored))
        return commands

    def reclaim_result(self, event: ReclaimResult, now: float) -> list[AnyCommand]:
        """An object's memory is free, or a reader is in the way."""
        state, stored = self._state, self._state.objects.by_key.get(event.key)
        if stored is None or not stored.reclaiming:
            return []
        stored.reclaiming = False
        state.leaving -= stored.size
        if not event.ok:
            state.retry_later(stored, now)
            return self._answer_waiters(stored)
        state.reclaimed(stored)
        if stored.freed or not stored.url:
            told: list[AnyCommand] = []
            if not stored.freed:
                told.append(TellDropped(stored.object_id, stored.owner, stored.home, stored.size))
            state.objects.forget(stored)
            return told + self._fail_waiters(stored, "this copy was dropped; fetch it again from another node.")
        if stored.waiters:
            self._queue_restore(stored, now)
        return []

    def spill_done(self, event: SpillDone, now: float) -> list[AnyCommand]:
        """An object is on disk, or could not be written there."""
        state, stored = self._state, self._state.objects.by_key.get(event.key)
        if stored is None or not stored.spilling:
            return []
        stored.spilling = False
        state.leaving -= stored.size
        if event.error:
            state.spill_error, state.spill_again_at = event.error, now + SPILL_BACKOFF
        else:
            state.spill_error, state.spill_again_at = "", 0.0
            state.spilled_bytes += stored.size
        if stored.freed:
            deletion: list[AnyCommand] = [] if event.error else [DeleteSpilled(event.url)]
            return [*deletion, state.reclaim(stored)]
        stored.url = "" if event.error else event.url
        if stored.retry_at is None:  # what is on disk now is the first to leave memory
            state.objects.use(stored, newest=bool(event.error))
        return []

    def locate(self, event: LocateRequested, now: float) -> list[AnyCommand]:
        """A reader wants to know where an object is."""
        copies = self._state.objects.copies(event.object_id)
        if not copies:
            return [LocateFailed(event.request, f"Object {event.object_id.hex()} is not on this node.")]
        stored = max(copies, key=lambda copy: (copy.offset is not None and not copy.busy, copy.key))
        stored.waiters.append(event.request)
        self._state.objects.want(stored, 0.0)
        if stored.reclaiming or stored.restoring:
            return []
        if stored.offset is None:
            self._queue_restore(stored, now)
            return []
        self._state.shelter(stored, now)
        return self._answer_waiters(stored)

    def restore(self, request: Request, offset: int) -> AnyCommand:
        """There is memory for an object that is wanted back."""
        stored = self._state.objects.by_key[request.key]
        self._state.objects.place(stored, offset)
        stored.restoring = True
        stored.writer = ""
        return Restore(stored.key, stored.object_id, stored.url, offset, stored.size)

    def restore_done(self, event: RestoreDone, now: float) -> list[AnyCommand]:
        """An object is back in memory, or not for now, or lost."""
        state, stored = self._state, self._state.objects.by_key.get(event.key)
        if stored is None or not stored.restoring:
            return []
        stored.restoring = False
        if event.error:
            state.reclaimed(stored)
            if not event.lost and not stored.freed:  # who asks for it later may get it
                return self._fail_waiters(stored, f"it cannot be read back from disk now: {event.error}", full=True)
            commands = self._fail_waiters(stored, f"it was lost in the spill storage: {event.error}")
            if stored.url:
                commands.append(DeleteSpilled(stored.url))
            state.objects.forget(stored)
            return commands
        state.restored_bytes += stored.size
        if stored.freed:
            url, stored.url = stored.url, ""
            return [DeleteSpilled(url), state.reclaim(stored)]
        state.shelter(stored, now)
        return self._answer_waiters(stored)

    def settle(self, stored: StoredObject) -> list[AnyCommand]:
        """The time for which an object was left alone is over."""
        stored.retry_at = None
        if stored.busy:  # what is decided when the answer comes does not depend on this
            return []
        if stored.freed:
            return [self._state.reclaim(stored)]
        self._state.objects.use(stored, newest=stored.attempts == 0)
        return []

    def give_up(self, request: Request, now: float) -> list[AnyCommand]:
        """There was no memory in time for an object that is wanted back."""
        message = describe_shortage(self._state, request, now)
        return self._fail_waiters(self._state.objects.by_key[request.key], message, full=True)

    def _queue_restore(self, stored: StoredObject, now: float) -> None:
        if self._state.queue.of_object(stored.key) is None:
            deadline = now + self._state.limits.grant_timeout
            self._state.queue.add(Request(stored.size, now, deadline, key=stored.key))

    def _answer_waiters(self, stored: StoredObject) -> list[AnyCommand]:
        if stored.offset is None:
            raise AssertionError(f"object {stored.object_id.hex()} is not in memory")
        waiters, stored.waiters = stored.waiters, []
        return [Located(request, stored.offset, stored.size) for request in waiters]

    def _fail_waiters(self, stored: StoredObject, message: str, full: bool = False) -> list[AnyCommand]:
        waiters, stored.waiters = stored.waiters, []
        return [LocateFailed(request, f"Object {stored.object_id.hex()}: {message}", full) for request in waiters]
