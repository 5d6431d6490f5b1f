"""Things to be remembered for a while."""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class ExpiringSet(Generic[T]):
    """A set whose members are forgotten after `lifetime` seconds, the oldest earlier if there are more than `limit`."""

    def __init__(self, lifetime: float, limit: int) -> None:
        self._lifetime = lifetime
        self._limit = limit
        self._since: OrderedDict[T, float] = OrderedDict()

    def add(self, member: T, now: float) -> None:
        """Remember `member` from `now` on."""
        self._since[member] = now
        self._since.move_to_end(member)
        while self._since and (
            len(self._since) > self._limit or next(iter(self._since.values())) + self._lifetime < now
        ):
            self._since.popitem(last=False)

    def discard(self, member: T) -> None:
        """Forget `member`, if it is there."""
        self._since.pop(member, None)

    def __contains__(self, member: object) -> bool:
        return member in self._since
