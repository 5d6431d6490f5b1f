"""Reading objects without a copy, and keeping their memory from being reused while anything derived from them lives.

A reader takes a shared lock on the object's range and then checks that the header still names the object. Whoever
wants the memory back needs the exclusive lock first (`reclaimer.py`). The views handed out are slices of a memoryview
of a ctypes array, the *anchor*: numpy, Arrow, torch and slices of slices all keep it alive, and when it goes, a weak
reference's callback releases the lock. There is one anchor per object and process at a time, however often it is read.
"""

import ctypes
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from .error import ArenaClosedError, ObjectMovedError
from .range_lock import RangeLock
from .stored_object import ALIGNMENT, HEADER_SIZE, SEALED, data_start, read_sizes, unpack_header


class Pin(weakref.ref[Any]):
    """A weak reference to the anchor of one pinned object."""

    __slots__ = ("end", "lock", "locked", "start")

    start: int
    end: int
    locked: bool
    lock: RangeLock | None  # of its own, for a read within a read; else the table's


class PinTable:
    """The objects that this process reads at the moment. Thread-safe, also against finalizers and signal handlers.

    Args:
        mapping: the arena, mapped for writing.
        lock: this process's lock on it.
        reopen: makes another, independent `RangeLock` on the arena.
    """

    def __init__(self, mapping: mmap.mmap, lock: RangeLock, reopen: Callable[[], RangeLock]) -> None:
        self._mapping = mapping
        self._memory = memoryview(mapping)
        # All anchors have one type, spanning the whole arena: a ctypes type per size costs more than all the rest.
        self.anchor_type = ctypes.c_char * len(mapping)
        self.lock = lock
        self._reopen = reopen
        self._pins: dict[int, Pin] = {}
        self._alone: dict[int, Pin] = {}  # by id(): weak references hash as what they refer to, which here does not
        self._dead: deque[Pin] = deque()
        self._mutex = threading.RLock()
        self._inside = False
        self._closed = False
        self.on_empty: Callable[[], None] | None = None

    def read(self, object_id: bytes, offset: int) -> list[memoryview]:
        """The parts of the object at `offset`, read-only, without a copy; pinned while anything made of them lives.

        Takes about 4 us whatever the size.

        Raises:
            ObjectMovedError: that object is not there (any more).
            ArenaClosedError: the arena was closed.
        """
        try:
            anchor, count = self._pin_guarded(object_id, offset)
        finally:
            if self._dead:
                self.collect()
        whole = memoryview(anchor).cast("B").toreadonly()
        start = offset + data_start(count)
        views: list[memoryview] = []
        for size in read_sizes(self._memory, offset, count):
            views.append(whole[start : start + size])
            start += (size + ALIGNMENT - 1) & -ALIGNMENT
        return views

    def hold(self, object_id: bytes, offset: int) -> memoryview:
        """The whole range of the object at `offset`, header and all, read-only; pinned while anything made of it lives.

        Raises:
            ObjectMovedError, ArenaClosedError: as `read`.
        """
        try:
            anchor, _ = self._pin_guarded(object_id, offset)
        finally:
            if self._dead:
                self.collect()
        size = unpack_header(self._memory, offset)[3]
        return memoryview(anchor).cast("B").toreadonly()[offset : offset + size]

    def _pin_guarded(self, object_id: bytes, offset: int) -> tuple[Any, int]:
        """The anchor and the number of parts of the object."""
        with self._mutex:
            if self._closed:
                raise ArenaClosedError("This process has closed the shared memory: its session has ended.")
            size, count = self._check(object_id, offset)
            # Python code of this very thread can interrupt the section below: a signal handler, or a finalizer that the
            # garbage collector runs. If it reads too, it must not meet half-changed tables: it gets a lock of its own.
            if self._inside:
                return self._pin_alone(object_id, offset, size), count
            self._inside = True
            try:
                return self._pin(object_id, offset, size), count
            finally:
                self._inside = False

    def _pin(self, object_id: bytes, offset: int, size: int) -> Any:
        pin = self._pins.get(offset)
        anchor = None if pin is None else pin()
        if pin is None or anchor is None:
            # A dead pin that nobody has collected yet is replaced: collecting ignores what the table does not name.
            anchor, pin = self._new_pin(offset, size, None)
            self._pins[offset] = pin
        if not pin.locked:  # in the table first: if an exception comes between, the anchor's end undoes it
            self._share(self.lock, object_id, offset, size)
            pin.locked = True
            try:
                self._check(object_id, offset)
            except ObjectMovedError:
                self._disown(pin)
                raise
        return anchor

    def _pin_alone(self, object_id: bytes, offset: int, size: int) -> Any:
        lock = self._reopen()
        try:
            self._share(lock, object_id, offset, size)
            self._check(object_id, offset)
        except BaseException:
            lock.close()
            raise
        anchor, pin = self._new_pin(offset, size, lock)
        self._alone[id(pin)] = pin
        return anchor

    def _new_pin(self, offset: int, size: int, lock: RangeLock | None) -> tuple[Any, Pin]:
        anchor = self.anchor_type.from_buffer(self._mapping)
        pin = Pin(anchor, self._on_death)
        pin.start, pin.end, pin.lock, pin.locked = offset, offset + size, lock, lock is not None
        return anchor, pin

    def _share(self, lock: RangeLock, object_id: bytes, offset: int, size: int) -> None:
        try:
            lock.share(offset, size)
        except BlockingIOError:  # it is being taken back this moment
            raise _moved(object_id, offset) from None

    def _check(self, object_id: bytes, offset: int) -> tuple[int, int]:
        """The size and the number of parts of the object at `offset`, if it is `object_id`.

        Done before locking too, so that a stale place locks nothing.
        """
        # Read through the descriptor: a look into the mapping would put a page of memory behind a place that has none.
        content = os.pread(self.lock.fd, HEADER_SIZE, offset) if offset >= 0 else b""
        if len(content) < HEADER_SIZE:
            raise _moved(object_id, offset)
        word, _, home, size, count, _, found, _ = unpack_header(content)
        if word != SEALED or found != object_id or home != offset:
            raise _moved(object_id, offset)
        return size, count

    def _disown(self, pin: Pin) -> None:
        """Release a range that turned out not to be the object's, but not the objects that are pinned within it."""
        del self._pins[pin.start]
        start = pin.start
        for other in sorted(self._pins.values(), key=lambda p: p.start):
            if other.end <= start or other.start >= pin.end:
                continue
            if other.start > start:
                self.lock.release(start, other.start - start)
            start = other.end
        if start < pin.end:
            self.lock.release(start, pin.end - start)

    def _on_death(self, pin: Pin) -> None:
        """An anchor is gone. Runs in any thread at any moment, also within the methods above."""
        self._dead.append(pin)
        self.collect()

    def collect(self) -> None:
        """Release the locks of what is no longer referred to. Happens by itself; never blocks.

        If another thread is inside the table, that thread does it when it leaves.
        """
        while self._dead:
            if not self._mutex.acquire(blocking=False):
                return
            try:
                if self._inside:
                    return
                self._inside = True
                try:
                    self._drain()
                finally:
                    self._inside = False
            finally:
                self._mutex.release()
        if self._closed and not self._pins and self.on_empty is not None:
            self.on_empty()

    def _drain(self) -> None:
        while self._dead:
            pin = self._dead.popleft()
            if pin.lock is not None:
                self._alone.pop(id(pin), None)
                pin.lock.close()
            elif self._pins.get(pin.start) is pin:
                del self._pins[pin.start]
                self.lock.release(pin.start, pin.end - pin.start)

    def close(self) -> None:
        """Refuse further reads. What is pinned stays so until it is let go."""
        with self._mutex:
            self._closed = True
        self.collect()

    def release_memory(self) -> None:
        """Let the mapping go; when nothing is pinned and no read can begin."""
        self._memory.release()
        del self._mapping
        self.lock.close()

    def is_pinned(self, offset: int, size: int) -> bool:
        """Whether this process pins anything in the range."""
        with self._mutex:
            pins = list(self._pins.values()) + list(self._alone.values())
        self.collect()
        return any(pin.start < offset + size and offset < pin.end for pin in pins)

    @property
    def count(self) -> int:
        """Objects that this process pins."""
        return len(self._pins) + len(self._alone)

    def before_fork(self) -> RangeLock:
        """Stop the table, and pin everything once more under a lock for the child, which so has no moment without."""
        self._mutex.acquire()
        if self.lock.per_process:
            return self.lock
        lock = self._reopen()
        for pin in list(self._pins.values()) + list(self._alone.values()):
            if pin.locked:
                lock.share(pin.start, pin.end - pin.start)
        return lock

    def after_fork_in_parent(self, child_lock: RangeLock) -> None:
        """The child has its lock now; the parent goes on."""
        if child_lock is not self.lock:
            child_lock.close()
        self._mutex.release()
        self.collect()

    def after_fork_in_child(self, child_lock: RangeLock) -> None:
        """Live on with the child's own lock. The parent's must not stay open here: it would outlive the parent."""
        if child_lock is not self.lock:
            self.lock.close()
            self.lock = child_lock
        for pin in list(self._alone.values()):  # the child's one lock holds these ranges too
            self._alone.pop(id(pin), None)
            if pin.lock is not None and not pin.lock.per_process:
                pin.lock.close()
            pin.lock = None
            self._pins.setdefault(pin.start, pin)
        if child_lock.per_process:  # such locks are not inherited, and there is a moment without
            for pin in self._pins.values():
                child_lock.share(pin.start, pin.end - pin.start)
        self._mutex = threading.RLock()
        self._inside = False


def _moved(object_id: bytes, offset: int) -> ObjectMovedError:
    return ObjectMovedError(
        f"Object {object_id.hex()} is not at {offset} of the shared memory (any more): ask the store where it is."
    )
