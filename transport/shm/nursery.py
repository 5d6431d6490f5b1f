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
    """Allocation within one grant: at its end, which goes back when the last objects go. Thread-safe.

    The holder reserves, writes, seals the object in the arena, and tells the store which ranges it sealed. When
    `reserve` says None it asks the store for another grant; what is left of this one goes back with `retire`.
    A process forked from the holder has no part in the grant.
    """

    def __init__(self, grant: Grant) -> None:
        self.grant = grant.grant
        self._next = grant.offset
        self._end = grant.offset + grant.size
        self._touched = grant.offset  # up to here something may have been written
        self._released: dict[int, int] = {}  # end to start, of what lies before `_next`
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

    def release(self, offset: int, size: int) -> Return | None:
        """Give up a reserved range of which the store was not told and that holds no sealed object (any more).

        It can be reserved again once all behind it is released too: so objects lie one behind the other, and
        `stored_object.scan` finds them. Returns what to give back to the store, if the nursery was retired meanwhile.
        """
        with self._mutex:
            if self._retired:
                return Return(self.grant, offset, size, touched=True)
            self._touched = max(self._touched, offset + size)
            self._released[offset + size] = offset
            while (start := self._released.pop(self._next, None)) is not None:
                self._next = start
            return None

    def retire(self) -> list[Return]:
        """End the nursery: nothing more can be reserved. Returns what to give back.

        Ranges that are being written, and those with objects of which the store will be told, are not part of it.
        """
        with self._mutex:
            back = [Return(self.grant, start, end - start, touched=True) for end, start in self._released.items()]
            offset, size = self._next, self._end - self._next
            if size:
                back.append(Return(self.grant, offset, size, touched=self._touched > offset))
            self._released.clear()
            self._end = self._next
            self._retired = True
        return back
