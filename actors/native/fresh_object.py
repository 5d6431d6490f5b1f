"""Objects that this process wrote for itself a moment ago, and of which its node manager does not know yet.

Most arguments and many values are dropped within milliseconds. The node manager need not hear of those at all: their
memory is still part of a grant to this process, which uses it again at once, while the caches and the page tables know
it. Who reads them finds them in the shared memory by their place; who comes with nothing but their id asks the node
manager, which asks here (`TellSealed`). If the process dies, the node manager finds them by looking into the grant.
"""

from collections.abc import Iterator

from ..contract import SealedObject

AGE = 0.02
"""Seconds after which the node manager is told, so that it can spill what stays."""


class FreshObjects:
    """Which those are, and which of them were dropped. Not thread-safe; no I/O and no clock."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, SealedObject]] = {}
        self._dropped: dict[bytes, tuple[float, SealedObject]] = {}

    def __bool__(self) -> bool:
        return bool(self._kept or self._dropped)

    def add(self, sealed: SealedObject, now: float) -> None:
        """An object was sealed."""
        self._kept[sealed.object_id] = now, sealed

    def drop(self, object_id: bytes, offset: int) -> bool:
        """Nobody needs the copy of an object that is at `offset`; False when it is not one of these."""
        known = self._kept.get(object_id)
        if known is None or known[1].offset != offset:
            return False
        self._dropped[object_id] = self._kept.pop(object_id)
        return True

    def dropped(self) -> list[SealedObject]:
        """What was dropped and may still be read by somebody."""
        return [sealed for _, sealed in self._dropped.values()]

    def reused(self, object_id: bytes) -> None:
        """The memory of a dropped object serves again."""
        del self._dropped[object_id]

    def take(self, before: float = float("inf")) -> tuple[list[SealedObject], list[SealedObject]]:
        """What was sealed before that time: objects that are still needed, and dropped ones. They are fresh no more."""
        return list(_take(self._kept, before)), list(_take(self._dropped, before))


def _take(objects: dict[bytes, tuple[float, SealedObject]], before: float) -> Iterator[SealedObject]:
    for object_id, (since, sealed) in list(objects.items()):
        if since >= before:
            continue  # dropped ones are in the order in which they were dropped
        del objects[object_id]
        yield sealed
