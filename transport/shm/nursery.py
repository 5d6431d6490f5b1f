"""Room for new objects, granted to a process by the node's store in advance, so that a put asks nobody."""

import os
import threading

import msgspec


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """A range of the arena that one process may write.

    Attributes:
        grant: its number, never used again.
        offset, size: the range, in whole pages.
    """

    grant: int
    offset: int
    size: int


class Return(msgspec.Struct, frozen=True, array_like=True):
    """A range of a grant that its holder will not use.

    Attributes:
        grant: the grant's number.
        offset, size: the range.
        touched: whether the holder may have written there; where not, it is known to take no more memory than it did.
    """

    grant: int
    offset: int
    size: int
    touched: bool


class Nursery:
    """Bump allocation within one grant. Thread-safe.

    The holder reserves, writes, seals the object in the arena, and tells the store which ranges it sealed. When
    `reserve` says None it asks the store for another grant; what is left of this one goes back with `retire`.
    A process forked from the holder has no part in the grant.
    """

    def __init__(self, grant: Grant) -> None:
        self.grant = grant.grant
        self._next = grant.offset
        self._end = grant.offset + grant.size
        self._touched = grant.offset  # up to here something may have been written, also where it was abandoned
        self._retired = False
        self._mutex = threading.Lock()
        self._pid = os.getpid()

    @property
    def remaining(self) -> int:
        """Bytes that can still be reserved."""
        return self._end - self._next

    def reserve(self, size: int) -> int | None:
        """Where an object of `size` bytes (whole pages, see `object_size`) may be written; None when there is no room.

        Raises:
            RuntimeError: in a process forked from the holder, which would write over the holder's objects.
        """
        if os.getpid() != self._pid:
            raise RuntimeError(
                "A forked process cannot store objects: connect it with init(), or start a task or an actor instead."
            )
        with self._mutex:
            offset = self._next
            if size > self._end - offset:
                return None
            self._next = offset + size
            return offset

    def abandon(self, offset: int, size: int) -> Return | None:
        """Give up a reserved range whose object was not sealed; returns what to give back to the store, if anything.

        The newest reservation simply becomes free for the next.
        """
        with self._mutex:
            if offset + size == self._next and not self._retired:
                self._next = offset
                self._touched = max(self._touched, offset + size)
                return None
        return Return(self.grant, offset, size, touched=True)

    def retire(self) -> Return | None:
        """End the nursery: nothing more can be reserved. Returns the rest to give back, if any.

        Ranges that are being written are not part of the rest.
        """
        with self._mutex:
            offset, size = self._next, self._end - self._next
            self._end = self._next
            self._retired = True
            touched = self._touched > offset
        return Return(self.grant, offset, size, touched) if size else None
