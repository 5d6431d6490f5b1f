"""Values on their way into and out of objects: inline or in the store."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...transport.address import ProcessAddress
from .. import ids
from ..contract import Dependency, ExportedRef, Location, Value
from ..object_ref import ObjectRef
from ..serialization import Serialized, deserialize_error, serialize, serialize_args
from . import slot
from .entry import FAILED, INLINE, STORED, ObjectEntry
from .old_session import check_refs
from .running import Job
from .slot import NO_ARGS
from .task_record import TaskRecord, TaskTemplate
from .value_codec import INLINE_LIMIT, from_inline, from_parts, to_inline

if TYPE_CHECKING:
    from .hub import Hub

_ARGUMENTS_LIMIT = 1024 * 1024
"""Arguments by ref of up to so many bytes in all travel with a call; the executing process asks for the rest."""


class Values:
    """Serializes what leaves user code and deserializes what enters it. On the threads of the user's code."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub

    def put(self, value: Any, object_id: bytes) -> ObjectRef[Any]:
        """A new object of this process with that value."""
        serialized = serialize(value)
        hub = self._hub
        entry = ObjectEntry(hub.table, object_id)
        entry.contained = serialized.refs or None
        if serialized.size > INLINE_LIMIT:
            return self._stored(entry, serialized)
        entry.data = to_inline(serialized)
        entry.state = INLINE
        return hub.table.new_ref(entry)

    def _stored(self, entry: ObjectEntry, serialized: Serialized) -> ObjectRef[Any]:
        """The first ref to a new object of this process, in the store. Ctrl-C at any moment leaves nothing there."""
        table = self._hub.table
        ref = table.new_ref(entry)
        try:
            entry.location = self._store(serialized, entry.object_id, self._hub.address)
            entry.state = STORED
            table.track(entry)
        except BaseException:
            if entry.location is not None:
                entry.state = STORED
                table.track(entry)  # so that the end of the ref, which is near, frees the object
            raise
        return ref

    def pack_result(self, value: Any, job: Job, index: int, room: int = INLINE_LIMIT) -> tuple[Value, list[Any]]:
        """A result on its way to its owner, the caller, and the refs in it, which are to be lent before it leaves.

        Of more than `room` (or `INLINE_LIMIT`) bytes it goes to this node's store, and only its place travels.
        """
        serialized = serialize(value, "the result")
        contained: tuple[ExportedRef, ...] = ()
        if serialized.refs:
            contained = tuple(self._hub.table.exported(ref) for ref in serialized.refs)
        if serialized.size <= INLINE_LIMIT and serialized.size <= room:
            return Value("i", to_inline(serialized), None, contained), serialized.refs
        object_id = ids.object_id(job.invocation.task_id, index)
        location = self._store(serialized, object_id, job.channel.peer)
        return Value("s", b"", location, contained), serialized.refs

    def unpack_result(self, value: Value, job: Job, index: int) -> None:
        """A result does not leave after all: free what it took in the store."""
        if value.location is not None:
            object_id = ids.object_id(job.invocation.task_id, index)
            self._hub.wire.post(lambda location: self._hub.store.free(object_id, location), value.location)

    def _store(self, serialized: Serialized, object_id: bytes, owner: ProcessAddress) -> Location:
        return self._hub.store.write(object_id, owner, [serialized.data, *serialized.buffers])

    def record(
        self, task_id: bytes, template: TaskTemplate, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> TaskRecord:
        """The record of a new call with its arguments serialized."""
        if not args and not kwargs:
            return TaskRecord(task_id, template, NO_ARGS, None, None)
        args, kwargs, refs = slot.split(args, kwargs, ObjectRef)
        if refs is not None:
            check_refs(refs, self._hub.table)
        serialized = serialize_args(args, kwargs, template.wire.name)
        nested: list[Any] | None = serialized.refs or None
        if serialized.size <= INLINE_LIMIT:
            return TaskRecord(task_id, template, to_inline(serialized), refs, nested)
        record = TaskRecord(task_id, template, NO_ARGS, refs, nested)
        entry = ObjectEntry(self._hub.table, ids.object_id(task_id, ids.PUT_INDEX))
        record.stored_args = self._stored(entry, serialized)
        return record

    def dependencies(self, refs: Iterable[ObjectRef[Any]] | None) -> tuple[Dependency, ...]:
        """Arguments as they travel: small ones as values, as long as all of them fit into a message.

        What was ready when the call was queued may have been lost with a node since: the callee waits for it.
        """
        if not refs:
            return ()
        room = _ARGUMENTS_LIMIT
        dependencies: list[Dependency] = []
        for ref in refs:
            entry: ObjectEntry = ref._entry
            if entry.state == STORED:
                dependencies.append(Dependency(Value("s", b"", entry.location), self._hub.table.exported(ref)))
            elif entry.state == INLINE and len(entry.data) <= room:
                room -= len(entry.data)
                dependencies.append(Dependency(Value("i", entry.data)))
            else:
                dependencies.append(Dependency(Value("r"), self._hub.table.exported(ref)))
        return tuple(dependencies)

    def read(self, ref: ObjectRef[Any]) -> Any:
        """The value of a ready ref.

        Raises:
            RayError: the object is an error.
        """
        entry: ObjectEntry = ref._entry
        state = entry.state
        if state == INLINE and not entry.contained and entry.owner is None:
            return from_inline(entry.data)  # no refs inside: nothing to register
        imports: list[ObjectEntry] = []
        try:
            with self._hub.table.importing(imports):
                if state == INLINE:
                    return from_inline(entry.data)
                if state == STORED:
                    check_refs((ref,), self._hub.table)
                    return self.read_stored(ref, entry.location)
                self._hub.unseen.seen(entry)
                raise deserialize_error(entry.data)
        finally:
            if imports:
                self._hub.wire.post(self._hub.borrowing.register_imports, (imports, ref))

    def read_stored(self, ref: ObjectRef[Any], location: Location | None) -> Any:
        """The value of an object in a store: without a copy from this node's, else pulled to it first."""
        store, entry = self._hub.store, ref._entry
        parts = store.read(ref.binary(), location) if location is not None else None
        if parts is None and entry.near is not None:
            parts = store.read(ref.binary(), entry.near)
        while parts is None:
            location = self._hub.recovery.relocate(ref, location)
            if location is None:  # it is inline now, or an error: made again
                return self._hub.waiting.get_one(ref)
            entry.near = location
            parts = store.read(ref.binary(), location)
        return from_parts(parts)

    def error(self, entry: ObjectEntry) -> BaseException | None:
        """The error that a ready entry is, if it is one."""
        if entry.state != FAILED:
            return None
        self._hub.unseen.seen(entry)
        return deserialize_error(entry.data)
