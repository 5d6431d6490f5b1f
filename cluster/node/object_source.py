"""Sends objects of this node to others: what bulk streams (transport/bulk.py) read from."""

from collections import OrderedDict

from ...transport.error import BulkUnavailableError
from ...transport.shm.stored_object import PLACE, read_stamp
from ..pull.pull import RANGE, extent
from ..store.error import ObjectNotHereError, ObjectStoreFullError
from ..store.store import ObjectStore
from .transfer import ArrivingObject, Transfer

_REMEMBERED = 10_000
"""Copies whose checksums are known: 4 bytes for 4 MiB."""

Sums = dict[int, int]
"""Checksums of an object's ranges by their index."""


class HeldObject:
    """An object that is being sent, all but what is about its place. Implements `BulkObject`.

    Slices keep it in memory themselves, so that a connection may still hold some after `release`.
    """

    def __init__(self, whole: memoryview, sums: Sums) -> None:
        self._whole: memoryview | None = whole[PLACE:]
        self._sums = sums
        self.size = len(whole) - PLACE
        self.tag = tag_of(whole)

    async def ready(self, start: int, stop: int) -> None:
        """All of it is there."""

    def view(self, start: int, stop: int) -> memoryview:
        """The bytes from `start` to `stop`."""
        if self._whole is None:
            raise ValueError("the object was released")
        return self._whole[start:stop]

    def checksum(self, start: int, stop: int) -> int | None:
        """What came with the range when this copy was made, if it is one."""
        index = start // RANGE
        return self._sums.get(index) if extent(index, self.size) == (start, stop) else None

    def release(self) -> None:
        """Nothing more will be sent."""
        self._whole = None


class ObjectSource:
    """A node's objects by their id in hexadecimal. Implements `BulkSource`.

    Attributes:
        arriving: objects that are on their way here, and can be passed on.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.arriving: dict[bytes, Transfer] = {}
        self._sums: OrderedDict[tuple[bytes, str], Sums] = OrderedDict()

    def remember(self, object_id: bytes, tag: str, sums: Sums) -> None:
        """Pass a copy on with the checksums that it came with: then its reader notices what went wrong here, too."""
        self._sums[object_id, tag] = sums
        if len(self._sums) > _REMEMBERED:
            self._sums.popitem(last=False)

    async def open(self, name: str) -> HeldObject | ArrivingObject:
        """Hold an object in memory, restoring it from disk where need be.

        Raises:
            KeyError: it is not here. BulkUnavailableError: it is on disk, and there is no memory for it.
        """
        try:
            object_id = bytes.fromhex(name)
            transfer = self.arriving.get(object_id)
            if transfer is not None:
                return ArrivingObject(transfer)
            whole = await self._store.hold(object_id)
        except (ObjectNotHereError, ValueError) as error:
            raise KeyError(str(error)) from None
        except ObjectStoreFullError as error:
            raise BulkUnavailableError(str(error)) from None
        return HeldObject(whole, self._sums.get((object_id, tag_of(whole)), {}))


def tag_of(whole: memoryview) -> str:
    """The tag of a stored object: by its stamp."""
    return f"{read_stamp(whole):08x}"
