"""An object that is arriving at this node: where it goes, and what of it can be passed on already."""

import asyncio
from collections.abc import Callable

from ...transport.bulk_client import Fetched
from ...transport.shm.arena import Arena
from ...transport.shm.nursery import Grant
from ...transport.shm.stored_object import PLACE
from ..pull.pull import RANGE, extent


class Transfer:
    """Memory that is being filled, range by range.

    Args:
        object_id: the object.
        grant: the memory.
        size: what the object takes of it.
        arena: where that is.
        on_wait: told how many peers wait for ranges that are still to come.

    Attributes:
        total: bytes to be transferred: all but what is about its place.
        tag: of the object whose ranges are here.
        sums: their checksums by index.
        readers: answers to peers that are under way.
    """

    def __init__(self, object_id: bytes, grant: Grant, size: int, arena: Arena, on_wait: Callable[[int], None]) -> None:
        self.object_id = object_id
        self.grant = grant
        self.size = size
        self.total = size - PLACE
        self.tag = ""
        self.sums: dict[int, int] = {}
        self.readers = 0
        self._memory = arena.receive(grant.offset, size)
        self._on_wait = on_wait
        self._waiting: dict[asyncio.Future[None], tuple[int, ...]] = {}
        self._unread = asyncio.Event()
        self._unread.set()

    def place(self, index: int) -> tuple[int, memoryview]:
        """Where a range begins, and the memory it goes to."""
        start, stop = extent(index, self.total)
        return start, self._memory[start:stop]

    def arrived(self, index: int, got: Fetched) -> bool:
        """A range is there; False where it is of another object than the first ones."""
        if self.tag and got.tag != self.tag:
            return False
        self.tag = got.tag
        self.sums[index] = got.checksum
        for waiter, indexes in list(self._waiting.items()):
            if not waiter.done() and all(each in self.sums for each in indexes):
                waiter.set_result(None)
        return True

    def start_over(self) -> None:
        """What is here is of no use; peers that have ranges of it have to look elsewhere."""
        self.fail()
        self.tag = ""
        self.sums.clear()

    def fail(self) -> None:
        """What peers wait for will not come."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(KeyError(self.object_id.hex()))

    async def ready(self, start: int, stop: int) -> None:
        """Wait until the bytes from `start` to `stop` have arrived.

        Raises:
            KeyError: they will not.
        """
        indexes = tuple(range(start // RANGE, -(-stop // RANGE)))
        if all(index in self.sums for index in indexes):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = indexes
        self._on_wait(len(self._waiting))
        try:
            await waiter
        finally:
            del self._waiting[waiter]
            self._on_wait(len(self._waiting))

    def view(self, start: int, stop: int) -> memoryview:
        """The bytes from `start` to `stop`."""
        return self._memory[start:stop]

    def open(self) -> None:
        """A peer reads."""
        self.readers += 1
        self._unread.clear()

    def close(self) -> None:
        """It has read."""
        self.readers -= 1
        if not self.readers:
            self._unread.set()

    async def unread(self) -> None:
        """Wait until no peer reads."""
        await self._unread.wait()


class ArrivingObject:
    """An object that is sent while it arrives. Implements `BulkObject`."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self.size = transfer.total
        transfer.open()

    @property
    def tag(self) -> str:
        """Known once a range is there."""
        return self._transfer.tag

    async def ready(self, start: int, stop: int) -> None:
        """See `Transfer.ready`."""
        await self._transfer.ready(start, stop)

    def view(self, start: int, stop: int) -> memoryview:
        """The bytes from `start` to `stop`."""
        return self._transfer.view(start, stop)

    def checksum(self, start: int, stop: int) -> int | None:
        """What came with the range, if it is one."""
        index = start // RANGE
        return self._transfer.sums.get(index) if extent(index, self.size) == (start, stop) else None

    def release(self) -> None:
        """The peer has what it wanted."""
        self._transfer.close()
