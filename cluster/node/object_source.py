"""Sends objects of this node to others: what bulk streams (transport/bulk.py) read from."""

from ...transport.shm.stored_object import FIRST_WORD
from ..store.error import ObjectNotHereError, ObjectStoreFullError
from ..store.store import ObjectStore


class HeldObject:
    """An object that is being sent, all but its first word. Implements `BulkObject`.

    Slices keep it in memory themselves, so that a connection may still hold some after `release`.
    """

    def __init__(self, whole: memoryview) -> None:
        self._whole: memoryview | None = whole[FIRST_WORD:]
        self.size = len(whole) - FIRST_WORD

    def view(self, start: int, stop: int) -> memoryview:
        """The bytes from `start` to `stop`."""
        if self._whole is None:
            raise ValueError("the object was released")
        return self._whole[start:stop]

    def release(self) -> None:
        """Nothing more will be sent."""
        self._whole = None


class ObjectSource:
    """A node's objects by their id in hexadecimal. Implements `BulkSource`."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def open(self, name: str) -> HeldObject:
        """Hold an object in memory, restoring it from disk where need be.

        Raises:
            KeyError: it is not here, or cannot be brought into memory; whoever asks again hears which.
        """
        try:
            return HeldObject(await self._store.hold(bytes.fromhex(name)))
        except (ObjectNotHereError, ObjectStoreFullError, ValueError) as error:
            raise KeyError(str(error)) from None
