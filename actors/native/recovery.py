"""Objects that are not where they were: moved, spilled, on another node, or lost and to be made again."""

from typing import TYPE_CHECKING, Any

from ...exceptions import ObjectLostError
from ..contract import NODE, LocateObject, Location, decoder_of
from ..object_ref import ObjectRef
from ..serialization import serialize_error
from .entry import FAILED, PENDING, STORED, ObjectEntry

if TYPE_CHECKING:
    from .hub import Hub


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
            with hub.blocked():
                answer = hub.ask(hub.node, NODE, body)
            if answer:
                return decoder_of(Location).decode(answer)
        hub.wire.run(self._lost(entry, location))
        return None

    async def _lost(self, entry: ObjectEntry, location: Location | None) -> None:
        if entry.owner is None:
            self.recover(entry, location)
        elif entry.state == STORED and entry.location == location:
            entry.state = PENDING
            self._hub.table.fetch(entry, avoid=location)

    def recover(self, entry: ObjectEntry, lost: Location | None) -> None:
        """Make an owned object again whose bytes are gone."""
        if entry.state != STORED or entry.location != lost:
            return  # somebody noticed before
        record = entry.producer
        entry.state = PENDING
        if record is None or not self._hub.submission.again(record):
            error = ObjectLostError(
                entry.object_id.hex(),
                reason="its only copy is gone with its node, and it cannot be made again: it was put, not returned by a "
                "task, or the task may not be retried (max_retries)",
            )
            entry.producer = None
            entry.complete(FAILED, serialize_error(error))


def forget_lineage(entry: ObjectEntry) -> None:
    """An object is freed: what would make it again is not needed any more, unless a sibling needs it."""
    record, entry.producer = entry.producer, None
    if record is not None and all(result.producer is None for result in record.results):
        record.dependencies = record.nested = record.stored_args = None
        record.results = []
