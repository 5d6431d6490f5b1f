"""The objects this process owns or holds refs to, and the protocol that keeps them alive.

An object lives while its owner holds a ref to it or counts a borrower. See "Objects and references" in docs/design.md.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ...exceptions import ObjectFreedError, OwnerDiedError
from ...transport.address import ProcessAddress
from ...transport.error import TransportError
from ...transport.protocol import Reply
from ..contract import CORE, AddBorrower, ExportedRef, Location, ReleaseBorrow, Value, WaitObject, decoder_of
from ..object_ref import ObjectRef
from ..serialization import serialize_error
from .entry import FAILED, INLINE, PENDING, STORED, ObjectEntry
from .links import Links
from .wire import WireThread

_DROP_DELAY_S = 0.02
"""Refs that go are gathered for this long, so that a loop of short-lived refs does not wake the wire thread each time."""


class ObjectTable:
    """Entries by object id, for objects that others may know of too.

    Objects that never left the process and are not in the store have no place here: their entry lives with their ref.
    """

    def __init__(
        self,
        wire: WireThread,
        free_stored: Callable[[bytes, Location], None],
        release_lineage: Callable[[ObjectEntry], None],
    ) -> None:
        self._wire = wire
        self._free_stored = free_stored
        self._release_lineage = release_lineage
        self._links: Links | None = None
        self._address = ProcessAddress("", "")
        self._entries: dict[bytes, ObjectEntry] = {}
        self._owners: dict[str, ProcessAddress] = {}
        self._lent: dict[str, set[ObjectEntry]] = {}
        self._dropped: deque[ObjectEntry] = deque()
        self._drop_armed = False
        # Reentrant: a collection that starts while the lock is held may drop refs on the same thread.
        self._lock = threading.RLock()
        self._importing = threading.local()

    def attach(self, links: Links, address: ProcessAddress) -> None:
        """Say who this process is, once it listens."""
        self._links = links
        self._address = address

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, object_id: bytes) -> ObjectEntry | None:
        """The entry of an object that this process has exported or imported."""
        return self._entries.get(object_id)

    # --- refs of this process (any thread) ---

    def new_ref(self, entry: ObjectEntry) -> ObjectRef[Any]:
        """The first ref to a new entry (whose count is 1 already)."""
        return ObjectRef(entry.object_id, entry.owner, entry)

    def exported(self, ref: ObjectRef[Any]) -> ExportedRef:
        """A ref as it crosses a process boundary; from now on others may ask for it."""
        entry = ref._entry
        if not entry.tracked:
            self.track(entry)
        return ExportedRef(entry.object_id, entry.owner or self._address)

    def track(self, entry: ObjectEntry) -> None:
        """Put an entry into the table, so that dropping its last ref has consequences."""
        with self._lock:
            if not entry.tracked:
                self._entries[entry.object_id] = entry
                entry.tracked = True

    @contextmanager
    def importing(self, entries: list[ObjectEntry]) -> Iterator[None]:
        """Within it, entries of refs that this thread imports are added to `entries`."""
        outer = getattr(self._importing, "entries", None)
        self._importing.entries = entries
        try:
            yield
        finally:
            self._importing.entries = outer

    def imported(self, object_id: bytes, owner: ProcessAddress) -> ObjectRef[Any]:
        """A ref that came from elsewhere (or back home)."""
        with self._lock:
            entry = self._entries.get(object_id)
            if entry is None:
                entry = self._new_import(object_id, owner)
            else:
                entry.count += 1
        if entry.owner is not None and not entry.registered:
            entries = getattr(self._importing, "entries", None)
            if entries is not None:
                entries.append(entry)
        return ObjectRef(object_id, entry.owner, entry)

    def _new_import(self, object_id: bytes, owner: ProcessAddress) -> ObjectEntry:
        if owner.process_id == self._address.process_id:
            entry = ObjectEntry(self, object_id)
            error = ObjectFreedError(object_id.hex(), "its owner (this process) had no more refs to it and freed it")
            entry.complete(FAILED, serialize_error(error))
            return entry
        entry = ObjectEntry(self, object_id, self._owners.setdefault(owner.process_id, owner))
        entry.tracked = True
        self._entries[object_id] = entry
        return entry

    def ref_dropped(self, entry: ObjectEntry, uncounted: bool = False) -> None:
        """A ref to a tracked entry was collected."""
        with self._lock:
            if not uncounted:
                entry.count -= 1
            if entry.count > 0:
                return
        if entry.state == STORED:  # memory waits for this one
            self._wire.post(self.free_if_unused, entry)
            return
        self._dropped.append(entry)
        if not self._drop_armed:
            self._drop_armed = True
            self._wire.post(self._arm, None)

    def _arm(self, _: Any) -> None:
        self._wire.loop.call_later(_DROP_DELAY_S, self._collect)

    def _collect(self) -> None:
        self._drop_armed = False
        dropped = self._dropped
        while dropped:
            self.free_if_unused(dropped.popleft())

    # --- the life of an entry (wire thread) ---

    def free_if_unused(self, entry: ObjectEntry) -> None:
        """Forget an entry that nobody holds any more; free the object where this process owns it."""
        with self._lock:
            if entry.count > 0 or (entry.borrowers and any(entry.borrowers.values())):
                return
            if self._entries.get(entry.object_id) is not entry:
                return  # forgotten already
            if entry.owner is None and entry.state == PENDING:
                return  # its task is still to come; `completed` looks again
            del self._entries[entry.object_id]
        if entry.owner is None:
            if entry.state == STORED and entry.location is not None:
                self._free_stored(entry.object_id, entry.location)
                for copy in entry.copies or ():
                    self._free_stored(entry.object_id, copy)
            entry.contained = None
            if entry.on_free is not None:
                entry.on_free()
            self._release_lineage(entry)
        elif entry.registered:
            registered, entry.registered = entry.registered, 0
            self._links_().notify(entry.owner, CORE, ReleaseBorrow(entry.object_id, registered))

    def complete(self, entry: ObjectEntry, value: Value) -> None:
        """Make an owned entry ready with what its task returned."""
        if value.contained:
            entry.contained = [self._adopt(exported) for exported in value.contained]
        if value.kind == "s":
            entry.complete(STORED, b"", value.location)
            self.track(entry)
        else:
            entry.complete(INLINE if value.kind == "i" else FAILED, value.data)
        if entry.count == 0:
            self.free_if_unused(entry)

    def discard(self, object_id: bytes, value: Value) -> None:
        """Let go of a value that came twice, because its task ran twice."""
        for exported in value.contained:
            self._adopt(exported)  # and drop it at once: its owner counts this process for it
        if value.location is not None:
            self._free_stored(object_id, value.location)

    def _adopt(self, exported: ExportedRef) -> ObjectRef[Any]:
        """A ref inside a result: whoever sent it has told the ref's owner that this process borrows it."""
        ref = self.imported(exported.object_id, exported.owner)
        if ref._entry.owner is not None:
            ref._entry.registered += 1
        return ref

    def fetch(self, entry: ObjectEntry, avoid: Location | None = None) -> None:
        """Ask the owner of a borrowed object for its value, unless that is under way."""
        if entry.owner is None or entry.fetching or (entry.state and avoid is None):
            return
        entry.fetching = True

        def answered(reply: Reply | TransportError) -> None:
            entry.fetching = False
            if isinstance(reply, TransportError):
                error = OwnerDiedError(entry.object_id.hex(), entry.owner, reason=str(reply))
                entry.complete(FAILED, serialize_error(error))
                return
            value: Value = decoder_of(Value).decode(reply.body)
            state = {"i": INLINE, "s": STORED, "e": FAILED}[value.kind]
            entry.complete(state, value.data, value.location)

        self._links_().ask(entry.owner, CORE, WaitObject(entry.object_id, avoid), answered)

    # --- borrowing (wire thread) ---

    def lend(self, entry: ObjectEntry, borrower: ProcessAddress, count: int) -> None:
        """Count a borrower of an owned object. Counts may pass below zero for a moment: see docs/design.md."""
        borrowers = entry.borrowers
        if borrowers is None:
            borrowers = entry.borrowers = {}
        held = borrowers.get(borrower.process_id, 0) + count
        if held:
            borrowers[borrower.process_id] = held
            self._lent.setdefault(borrower.process_id, set()).add(entry)
        else:
            del borrowers[borrower.process_id]
            lent = self._lent.get(borrower.process_id)
            if lent is not None:
                lent.discard(entry)
            self.free_if_unused(entry)

    def lend_result(self, refs: Iterable[ObjectRef[Any]], caller: ProcessAddress) -> None:
        """Refs leave in a result: make sure that their owners count the caller before this process lets go."""
        for ref in refs:
            entry = ref._entry
            if entry.owner is None:
                self.lend(entry, caller, 1)
            elif entry.owner.process_id != caller.process_id:
                self.register(entry, caller, holding=ref)

    def register(
        self, entry: ObjectEntry, borrower: ProcessAddress, holding: Any, then: Callable[[], None] | None = None
    ) -> None:
        """Tell a borrowed object's owner of a borrower; keep `holding` alive until it knows, then call `then`."""
        if entry.owner is None:
            raise ValueError("Only borrowed objects are registered with their owner.")

        def answered(_: Reply | TransportError, holding: Any = holding) -> None:
            del holding
            if then is not None:
                then()

        self._links_().ask(entry.owner, CORE, AddBorrower(entry.object_id, borrower, 1), answered)

    def register_imports(self, imports: tuple[list[ObjectEntry], Any]) -> None:
        """Refs came out of a value that was read: register them, and hold the value's ref until their owners know."""
        entries, holding = imports
        for entry in entries:
            if entry.owner is not None and not entry.registered and entry.count > 0:
                entry.registered = 1
                self.register(entry, self._address, holding)

    def still_held(self, entries: Iterable[ObjectEntry]) -> list[ObjectEntry]:
        """Of the entries that a task's arguments brought: those that are still held and their owners do not know of."""
        held: list[ObjectEntry] = []
        for entry in entries:
            if entry.owner is not None and entry.count > 0 and not entry.registered:
                entry.registered = 1
                held.append(entry)
        return held

    def borrower_lost(self, process_id: str) -> None:
        """A process is gone: it borrows nothing any more."""
        for entry in self._lent.pop(process_id, ()):
            if entry.borrowers is not None and entry.borrowers.pop(process_id, 0):
                self.free_if_unused(entry)

    def _links_(self) -> Links:
        if self._links is None:
            raise RuntimeError("The object table is not attached to a network yet.")
        return self._links
