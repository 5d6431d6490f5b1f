"""One node's shared memory, as one process sees it."""

import mmap
import os
import threading
import weakref
from collections.abc import Sequence

from . import backing
from .backing import ArenaLocation
from .memory_copy import Part, address_of
from .pin import PinTable
from .private_view import map_privately
from .range_lock import HAS_OFD_LOCKS, RangeLock
from .stored_object import (
    PLACE,
    begin_object,
    clear_object,
    move_object,
    object_size,
    seal_object,
    stored_size,
    write_object,
)

ADDRESS_SPACE_FACTOR = 8
"""Address space per byte of capacity: with so much room, freed ranges of awkward sizes need not be moved or joined."""

PAGE = mmap.PAGESIZE
"""Objects begin and end at pages: what is freed can be given back to the kernel without touching a neighbour."""


class Arena:
    """Shared memory, mapped once. Made by the node process (`create`), joined by all others (`attach`).

    Thread-safe. A child forked by a process with an arena keeps its own pins and may read on.
    """

    def __init__(self, fd: int, location: ArenaLocation, per_process_locks: bool, owned: bool) -> None:
        self._fd = fd
        self._path = location.path
        self._per_process_locks = per_process_locks
        self._owned = owned
        self.location = location
        self._mapping = mmap.mmap(fd, location.size)
        self._address = address_of(memoryview(self._mapping))
        backing.keep_out_of_core_dumps(self._mapping)
        self.memory = memoryview(self._mapping)
        """The whole arena, writable; for ranges that this process was granted."""
        self.pins = PinTable(self._mapping, self.new_lock(), self.new_lock)
        self.pins.on_empty = self._unmap
        self._closing = threading.Lock()
        self.closed = False
        _arenas.add(self)

    @classmethod
    def create(cls, capacity: int, directory: str | None = None) -> "Arena":
        """Make an arena that can hold `capacity` bytes; others find it by its `location`.

        Args:
            capacity: bytes of memory that the store may use; no memory is taken yet.
            directory: keep it in a file there, with locks by POSIX's rules, as on platforms without memfds.
        """
        address_space = -(-capacity * ADDRESS_SPACE_FACTOR // PAGE) * PAGE
        fd, location = backing.create(address_space, directory)
        return cls(fd, location, bool(location.path) or not HAS_OFD_LOCKS, owned=True)

    @classmethod
    def attach(cls, location: ArenaLocation) -> "Arena":
        """Join the arena that another process of this node made.

        Raises:
            ArenaGoneError: it is not there, or not to be reached from this process.
        """
        return cls(backing.attach(location), location, bool(location.path) or not HAS_OFD_LOCKS, owned=False)

    @property
    def size(self) -> int:
        """Bytes of address space (not of memory)."""
        return self.location.size

    def new_lock(self) -> RangeLock:
        """A lock on the arena, independent of every other, also of this process's own (but not with POSIX locks)."""
        return RangeLock(backing.reopen(self._fd, self._path), self._per_process_locks)

    def read(self, object_id: bytes, offset: int) -> list[memoryview]:
        """The parts of an object, read-only, without a copy. Its memory stays while anything made of them lives.

        Raises:
            ObjectMovedError: that object is not at `offset` (any more).
            ArenaClosedError: this process closed the arena.
        """
        return self.pins.read(object_id, offset)

    def hold(self, object_id: bytes, offset: int) -> memoryview:
        """The whole range of an object, for copying it elsewhere (`receive`). Read-only and pinned, as with `read`.

        Raises:
            ObjectMovedError, ArenaClosedError: as `read`.
        """
        return self.pins.hold(object_id, offset)

    def receive(self, offset: int, size: int) -> memoryview:
        """The place for a copy of an object of `size` bytes that another arena `hold`s, from `PLACE` on.

        The object is not to be seen before `settle`.
        """
        self.clear(offset)
        return self.memory[offset + PLACE : offset + size]

    def clear(self, offset: int) -> None:
        """Make what begins at `offset`, in a range that this process was granted, no object (any more)."""
        clear_object(self.memory, offset)

    def settle(self, offset: int, grant: int) -> None:
        """The copy that was received at `offset` is complete."""
        move_object(self.memory, offset, grant)

    def write(self, offset: int, grant: int, object_id: bytes, owner: bytes, parts: Sequence[Part]) -> int:
        """Write and seal an object in a range reserved in a nursery; returns the bytes it takes.

        Args:
            offset: where it begins, from `Nursery.reserve`.
            grant: the nursery's grant.
            object_id: 28 bytes.
            owner: 16 bytes, the process that owns the object.
            parts: metadata first, then out-of-band buffers; contiguous.
        """
        size = object_size(parts, PAGE)
        write_object(self.memory, offset, size, grant, object_id, owner, parts)
        return size

    def begin(self, offset: int, grant: int, object_id: bytes, owner: bytes, sizes: Sequence[int]) -> list[memoryview]:
        """Start an object that is filled piece by piece; returns its parts, writable. `seal` ends it."""
        return begin_object(self.memory, offset, stored_size(sizes, PAGE), grant, object_id, owner, sizes)

    def seal(self, offset: int) -> None:
        """Say that the object at `offset` is complete."""
        seal_object(self.memory, offset)

    def private_view(self, view: memoryview) -> memoryview | None:
        """Writable memory with the content of `view`, which `read` gave; what is written there only its holder sees.

        Nothing is copied before it is written to (a page at a time, by the kernel): the same pages are mapped once
        more, MAP_PRIVATE, as long as anything made of the result lives. None where that cannot be: the view is of
        other memory, or the process has too many mappings already.
        """
        offset = address_of(view) - self._address
        if self.closed or not 0 <= offset <= self.size - view.nbytes:
            return None
        return map_privately(self._fd, offset, view, self.pins.anchor_type)

    def collect(self) -> None:
        """Release what is no longer referred to. Happens by itself; useful after `gc.collect()` in tests."""
        self.pins.collect()

    def punch(self, offset: int, size: int) -> None:
        """Give the memory of a range back to the kernel. Blocks, without the GIL, for about 60 us a MiB."""
        backing.punch(self._fd, offset, size)

    def resident_bytes(self) -> int:
        """Bytes of memory that the arena takes, as the kernel counts them."""
        return os.fstat(self._fd).st_blocks * 512

    def close(self) -> None:
        """Leave the arena. Idempotent.

        What was read and is still referred to stays valid (and mapped, and pinned) until it is let go.
        """
        self.pins.close()
        self._unmap()

    def _unmap(self) -> None:
        """Let go of the mapping once nothing is pinned; called again when the last pin goes."""
        if self.pins.count:
            return
        with self._closing:
            if self.closed:
                return
            self.closed = True
        if self._owned:
            backing.remove(self._path)
        # The mapping is not closed but forgotten: it ends with the last view into it, which may be for writing.
        self.memory.release()
        self.pins.release_memory()
        del self._mapping
        os.close(self._fd)


_arenas: "weakref.WeakSet[Arena]" = weakref.WeakSet()


def private_view(view: memoryview) -> memoryview | bytearray:
    """`Arena.private_view` for a view of any arena of this process; a copy where it is of none."""
    for arena in list(_arenas):
        mapped = arena.private_view(view)
        if mapped is not None:
            return mapped
    return bytearray(view)


_forking: list[tuple[PinTable, RangeLock]] = []


def _before_fork() -> None:
    _forking.clear()
    _forking.extend((arena.pins, arena.pins.before_fork()) for arena in list(_arenas) if not arena.closed)


def _after_fork_in_parent() -> None:
    while _forking:
        pins, lock = _forking.pop()
        pins.after_fork_in_parent(lock)


def _after_fork_in_child() -> None:
    while _forking:
        pins, lock = _forking.pop()
        pins.after_fork_in_child(lock)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
