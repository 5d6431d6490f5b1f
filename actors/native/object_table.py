"""The objects this process owns or holds refs to: which there are, and when they go.

An object lives while its owner holds a ref to it or counts a borrower (see borrowing.py).

Threads: entries are looked up, counted and forgotten under one lock, so that an import on a user's thread and the end
of the entry on the wire thread cannot miss each other. A garbage collection may run `ref_dropped` at any moment, also
on a thread that is in here: the lock is reentrant, and while it is held nothing else is waited for and no other lock is
taken, so no two threads can wait for each other.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from ...exceptions import ObjectFreedError
from ...transport.address import ProcessAddress
from ..contract import ExportedRef, Location
from ..object_ref import ObjectRef
from ..serialization import serialize_error
from .entry import FAILED, PENDING, STORED, ObjectEntry
from .wire import WireThread

_DROP_DELAY_S = 0.02
"""Refs that go are gathered for so long: a loop of short-lived refs must not wake the wire thread each time."""


class ObjectTable:
    """Entries by object id, for objects that others may know of too.

    Objects that never left the process and are not in the store have no place here: their entry lives with their ref.

    Attributes:
        on_forgotten: told, on the wire thread, that a borrowed object is held here no more.
        on_stray: told, on the wire thread, of a borrowed object whose ref was unpickled outside of any value that the
            runtime reads, so that nobody else will register it.
        is_kept: asked, on the wire thread, whether a stored object is to stay although nobody holds it.
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
        self.on_forgotten: Callable[[ObjectEntry], None] = _ignore
        self.on_stray: Callable[[ObjectEntry], None] = _ignore
        self.is_kept: Callable[[ObjectEntry], bool] = _is_not
        self._address = ProcessAddress("", "")
        self._entries: dict[bytes, ObjectEntry] = {}
        self._owners: dict[str, ProcessAddress] = {}
        self._dropped: deque[ObjectEntry] = deque()
        self._drop_armed = False
        self._lock = threading.RLock()
        self._importing = threading.local()

    def attach(self, address: ProcessAddress) -> None:
        """Say who this process is, once it listens."""
        self._address = address

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, object_id: bytes) -> ObjectEntry | None:
        """The entry of an object that this process has exported or imported."""
        return self._entries.get(object_id)

    def is_held(self, entry: ObjectEntry) -> bool:
        """Whether this process has refs to an imported object. A later import of it reports itself."""
        with self._lock:
            return entry.count > 0

    # --- refs of this process (any thread) ---

    def new_ref(self, entry: ObjectEntry) -> ObjectRef[Any]:
        """The first ref to a new entry (whose count is 1 already)."""
        return ObjectRef(entry.object_id, entry.owner, entry)

    def exported(self, ref: ObjectRef[Any]) -> ExportedRef:
        """A ref as it crosses a process boundary; from now on others may ask for it."""
        entry = ref._entry
        if not entry.tracked:
            self.track(entry)
        elif entry.state == FAILED:
            entry.on_free = None  # whoever gets the ref may look at the error
        return ExportedRef(entry.object_id, entry.owner or self._address)

    def handed_on(self, ref: ObjectRef[Any]) -> ExportedRef:
        """A ref as it leaves for a process that its owner is told of first."""
        exported = self.exported(ref)
        if ref._entry.owner is None:
            return exported
        return ExportedRef(exported.object_id, exported.owner, self._address.process_id)

    def track(self, entry: ObjectEntry) -> None:
        """Put an entry into the table, so that dropping its last ref has consequences."""
        with self._lock:
            if not entry.tracked and not entry.freed:
                self._entries[entry.object_id] = entry
                entry.tracked = True

    @contextmanager
    def importing(self, entries: list[ObjectEntry]) -> Generator[None]:
        """Within it, entries of refs that this thread imports are added to `entries`."""
        outer = getattr(self._importing, "entries", None)
        try:
            self._importing.entries = entries
            yield
        finally:
            self._importing.entries = outer

    def imported(self, object_id: bytes, owner: ProcessAddress) -> ObjectRef[Any]:
        """A ref that came from elsewhere (or back home)."""
        ref = self.adopted(object_id, owner)
        entry = ref._entry
        if entry.owner is not None and not entry.registered:
            entries = getattr(self._importing, "entries", None)
            if entries is not None:
                entries.append(entry)
            else:
                self._wire.post(self.on_stray, entry)
        return ref

    def adopted(self, object_id: bytes, owner: ProcessAddress) -> ObjectRef[Any]:
        """A ref that came from elsewhere, and that the caller of this sees registered."""
        ref: ObjectRef[Any] = ObjectRef(object_id)  # made first: no signal can come between the count and its ref
        with self._lock:
            entry = self._entries.get(object_id)
            if entry is not None:
                entry.count += 1
                ref._entry = entry
            elif owner.process_id != self._address.process_id:
                entry = ObjectEntry(self, object_id, self._owners.setdefault(owner.process_id, owner))
                entry.tracked = True
                ref._entry = entry
                self._entries[object_id] = entry
        if entry is None:  # it came home too late
            entry = ref._entry = ObjectEntry(self, object_id)
            error = ObjectFreedError(object_id.hex(), "its owner (this process) had no more refs to it and freed it")
            entry.freed = True
            entry.complete(FAILED, serialize_error(error))
        ref._owner = entry.owner
        return ref

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
            try:
                self._drop_armed = True
                self._wire.post(self._arm, None)
            except BaseException:  # Ctrl-C: the next one that drops arms it
                self._drop_armed = False
                raise

    def _arm(self, _: Any) -> None:
        self._wire.loop.call_later(_DROP_DELAY_S, self._collect)

    def _collect(self) -> None:
        self._drop_armed = False
        dropped = self._dropped
        while dropped:
            self.free_if_unused(dropped.popleft())

    def held_again(self, entry: ObjectEntry) -> ObjectRef[Any]:
        """A ref to an owned object that may have been freed since; on the wire thread."""
        with self._lock:
            entry.count += 1
            if not entry.tracked:
                self._entries[entry.object_id] = entry
                entry.tracked = True
        return ObjectRef(entry.object_id, None, entry)

    # --- the end of an entry (wire thread) ---

    def free_if_unused(self, entry: ObjectEntry) -> None:
        """Forget an entry that nobody holds any more; free the object where this process owns it."""
        if entry.state == STORED and self.is_kept(entry):
            return
        with self._lock:
            if entry.count > 0 or entry.borrowers:
                return
            if not entry.tracked:
                entry.contained = None  # the entry may outlive its ref, as in `ObjectEntry.dropped`
                entry.data = b""
                return
            if self._entries.get(entry.object_id) is not entry:
                return  # forgotten already
            if entry.owner is None and entry.state == PENDING:
                return  # its task is still to come; `Borrowing.complete` looks again
            del self._entries[entry.object_id]
        if entry.owner is not None:
            self.on_forgotten(entry)
            return
        if entry.state == STORED and entry.location is not None:
            self._free_stored(entry.object_id, entry.location)
            for copy in entry.copies or ():
                self._free_stored(entry.object_id, copy)
        entry.contained = None
        if entry.on_free is not None:
            entry.on_free()
        self._release_lineage(entry)

    def owner_lost(self, process_id: str) -> None:
        """A process that others may have borrowed from is gone, and with it what it knew of borrowers."""
        if self._owners.pop(process_id, None) is None:
            return
        with self._lock:
            entries = list(self._entries.values())
        for entry in entries:
            if entry.owner is not None and entry.owner.process_id == process_id:
                entry.registered = 0
                entry.givers = None


def _is_not(_: ObjectEntry) -> bool:
    """Nothing is kept that nobody holds."""
    return False


def _ignore(_: ObjectEntry) -> None:
    """Nobody has been told whom to tell yet."""
