"""Objects that are not where they were: moved, spilled, on another node, or lost and to be made again."""

from typing import TYPE_CHECKING, Any

from ...exceptions import (
    GetTimeoutError,
    ObjectLostError,
    ObjectReconstructionFailedLineageEvictedError,
    ObjectReconstructionFailedMaxAttemptsExceededError,
)
from ...transport.error import DeadlineExceededError, RemoteCallError
from ..contract import NODE, KeepObject, LocateObject, Location, Value, decoder_of
from ..object_ref import ObjectRef
from ..serialization import deserialize_error, serialize_error
from .copies import Copies
from .entry import FAILED, PENDING, STORED, ObjectEntry

if TYPE_CHECKING:
    from .hub import Hub
    from .task_record import TaskRecord


class Recovery:
    """Finds objects again, and makes lost ones anew from their lineage."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub

    def relocate(self, ref: ObjectRef[Any], location: Location | None) -> Location | None:
        """Where an object is now, when it is not at `location`; None when it is being made again. On user threads."""
        hub = self._hub
        entry: ObjectEntry = ref._entry
        if location is not None:
            body = LocateObject(entry.object_id, entry.owner or hub.address, location)
            try:
                hub.prefetch.missed()
                with hub.waiting.blocked():
                    answer = hub.ask(hub.node, NODE, body, hub.prefetch.time_left(), abandon=True)
            except DeadlineExceededError:
                raise GetTimeoutError(
                    f"get() timed out: object {entry.object_id.hex()} is ready, but its {location.size} bytes have not "
                    "come from another node in time."
                ) from None
            except RemoteCallError as error:
                raise deserialize_error(error.body) from None
            if answer:
                return decoder_of(Location).decode(answer)
        hub.wire.run(self._lost(entry, location))
        return None

    async def _lost(self, entry: ObjectEntry, location: Location | None) -> None:
        if entry.owner is None:
            self.recover(entry, location)
        elif entry.state == STORED and entry.location == location:
            entry.state = PENDING
            self._hub.borrowing.fetch(entry, avoid=location)

    def recover(self, entry: ObjectEntry, lost: Location | None) -> None:
        """Make an owned object again whose bytes are gone."""
        if entry.state != STORED or entry.location != lost:
            return  # somebody noticed before
        if entry.copies:
            entry.location = entry.copies.pop()
            hub = self._hub
            hub.links.notify(hub.node, NODE, KeepObject(entry.object_id, entry.location))
            return
        record: TaskRecord | None = entry.producer
        entry.state = PENDING
        if record is not None and record.generator is not None:
            record.generator.lost(entry)
        if record is None or not self._hub.completion.again(record):
            self.give_up(entry, record)

    def give_up(self, entry: ObjectEntry, record: "TaskRecord | None") -> None:
        """A lost object will not be made again."""
        self._hub.lineage.forget_producer(entry)
        entry.complete(FAILED, serialize_error(_why_lost(entry.object_id.hex(), record)))

    def made(self, entry: ObjectEntry, value: Value) -> bool:
        """A task has made one of its results, perhaps not for the first time; False where that is of no use.

        What was made once more because a sibling was lost is as good as a copy: it may well be lost, too.
        """
        if entry.state == PENDING:
            self._hub.borrowing.complete(entry, value)
            return True
        there = [entry.location, *(entry.copies or ())]
        made = value.location
        if entry.state != STORED or made is None or any(place and place.node_id == made.node_id for place in there):
            return False
        if self._hub.table.find(entry.object_id) is not entry:
            return False  # it was dropped, and freed, before its sibling was lost
        if entry.copies is None:
            entry.copies = Copies()
        entry.copies.add(made)
        entry.contained = [*(entry.contained or ()), *self._hub.borrowing.adopt(value.contained)]
        return True


def _why_lost(object_id: str, record: "TaskRecord | None") -> ObjectLostError:
    if record is None:
        reason = (
            "the node that held its only copy is lost, and it was not returned by a task that could make it again; "
            "put() it on a node that lasts, or have a task return it"
        )
        return ObjectLostError(object_id, reason=reason)
    name, limit = record.template.wire.name, record.template.max_retries
    if record.evicted:
        reason = (
            f"the node that held its only copy is lost, and what {name} would need to run again is not kept any more: "
            "too much would be needed to make again all that this process holds. Hold fewer refs, or keep a copy of "
            "what long chains of tasks come from"
        )
        return ObjectReconstructionFailedLineageEvictedError(object_id, reason_message=reason)
    option = "max_task_retries" if record.actor_id else "max_retries"
    reason = (
        f"the node that held its only copy is lost, and {name} has run as often as its {option} of {limit} allows; "
        "raise it to have more losses made good"
    )
    return ObjectReconstructionFailedMaxAttemptsExceededError(object_id, reason_message=reason)
