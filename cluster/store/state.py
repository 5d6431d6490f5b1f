"""All that a node's store knows."""

from collections.abc import Callable
from heapq import heappop, heappush

import msgspec

from .address_space import NOBODY, AddressSpace
from .command import AnyCommand, Reclaim
from .expiring_set import ExpiringSet
from .grant_table import GrantTable
from .object_table import ObjectTable, StoredObject
from .reading import Reader
from .request import Request, RequestQueue

FIRST_RETRY = 0.005
LAST_RETRY = 0.5
LAST_RETRY_UNDER_PRESSURE = 0.05
FIRST_SHELTER = 0.05
LAST_SHELTER = 0.8
SHELTER_AGAIN = 2.0
"""A reader should have pinned what it asked for in the first time; if it asks again within the last, it needs more."""


class StoreLimits(msgspec.Struct, frozen=True):
    """How a store behaves.

    Attributes:
        capacity: bytes of memory it may take.
        address_space: bytes of addresses it has for that, some times the capacity.
        page: granularity of everything, in bytes.
        high_water: above this share of the capacity, objects are spilled ahead of need.
        grant_timeout: seconds that a request for memory may wait.
        can_spill: whether there is a spill storage.
        grace: seconds that a writer's request for memory waits while none comes free, and none is about to.
    """

    capacity: int
    address_space: int
    page: int = 4096
    high_water: float = 0.8
    grant_timeout: float = 30.0
    can_spill: bool = True
    grace: float = 2.0


class StoreState:
    """Tables and sums, and the moves that the policy is made of.

    Memory is in exactly one of: granted to a process and unused, resident (objects, also freed ones that a reader
    pins), free but populated, or being punched. Together they never exceed the capacity.
    """

    def __init__(
        self,
        limits: StoreLimits,
        name_of: Callable[[str], str] = str,
        readers: Callable[[], list[Reader]] = list[Reader],
    ) -> None:
        self.limits = limits
        self.name_of = name_of
        self.readers = readers
        self.space = AddressSpace(limits.address_space)
        self.grants = GrantTable()
        self.objects = ObjectTable()
        self.queue = RequestQueue()
        self.punching: dict[int, int] = {}  # start to size
        self.punching_bytes = 0
        self.leaving = 0  # bytes of objects that are being spilled or reclaimed
        self.spill_error = ""
        self.spill_again_at = 0.0
        self.spilled_bytes = 0
        self.restored_bytes = 0
        self.freed_bytes = 0
        self.progress_at = 0.0  # when memory last came free, or a copy of it was on disk
        self._progress = 0
        self.lost: ExpiringSet[str] = ExpiringSet(float("inf"), 100_000)  # processes, of any node
        self._retries: list[tuple[float, int]] = []

    @property
    def short(self) -> bool:
        """Whether somebody waits for memory, or more is used than should be."""
        return len(self.queue) > 0 or self.used > self.limits.high_water * self.limits.capacity

    @property
    def used(self) -> int:
        """Bytes that hold something: granted and resident."""
        return self.grants.bytes + self.objects.resident

    @property
    def taken(self) -> int:
        """Bytes of memory in all, also what is free but populated."""
        return self.used + self.space.populated_free + self.punching_bytes

    def may_spill(self, now: float) -> bool:
        """Whether objects can be written to the spill storage (now; it is not tried again at once after it failed)."""
        return self.limits.can_spill and now >= self.spill_again_at

    def reclaim(self, stored: StoredObject) -> AnyCommand:
        """Ask for an object's memory back."""
        if stored.offset is None:
            raise AssertionError(f"object {stored.object_id.hex()} has no memory to give back")
        self.objects.occupy(stored)
        stored.reclaiming = True
        stored.retry_at = None
        self.leaving += stored.size
        return Reclaim(stored.key, stored.offset, stored.size)

    def reclaimed(self, stored: StoredObject) -> None:
        """An object's memory is free."""
        self.free(self.objects.unplace(stored), stored.size, stored.writer)
        stored.attempts = 0

    def free(self, offset: int, size: int, writer: str | None) -> None:
        """Take a range back. `writer` left memory behind it; None: it is cold."""
        self.freed_bytes += size
        self.space.free(offset, size, NOBODY if writer in self.lost else writer)

    def note_progress(self, now: float) -> None:
        """Look whether anything came free since this was last called."""
        progress = self.freed_bytes + self.spilled_bytes
        if progress != self._progress:
            self._progress, self.progress_at = progress, now

    def hopeless_at(self, request: Request) -> float:
        """When a request has waited long enough, unless memory comes free before.

        While something leaves, memory is about to come free. And who reads waits for other readers to end: the object
        is there, and its task cannot do anything better.
        """
        if self.leaving or self.punching or request.key:
            return request.deadline
        return min(request.deadline, max(request.since, self.progress_at, request.hope_at) + self.limits.grace)

    def others_read(self, request: Request) -> bool:
        """Whether processes that are at work, besides the one that waits, read what they may let go of soon."""
        pinned = any(
            stored.retry_at is not None and stored.offset is not None for stored in self.objects.by_key.values()
        )
        return pinned and any(
            reader.size > 0 and reader.at_work and reader.process != request.process for reader in self.readers()
        )

    def shelter(self, stored: StoredObject, now: float) -> None:
        """Leave an object in memory for a moment, since a reader was just told where it is."""
        self.objects.occupy(stored)
        stored.attempts = 0
        again = now < stored.located_at + SHELTER_AGAIN
        stored.shelter = min(2 * stored.shelter, LAST_SHELTER) if again else FIRST_SHELTER
        stored.located_at = now
        self._leave_alone(stored, now + stored.shelter)

    def retry_later(self, stored: StoredObject, now: float) -> None:
        """A reader is in the way: try again, less and less often."""
        last = LAST_RETRY_UNDER_PRESSURE if len(self.queue) else LAST_RETRY
        delay = min(FIRST_RETRY * 2**stored.attempts, last)
        stored.attempts = min(stored.attempts + 1, 20)
        self._leave_alone(stored, now + delay)

    def _leave_alone(self, stored: StoredObject, until: float) -> None:
        stored.retry_at = until
        heappush(self._retries, (until, stored.key))

    def due_retries(self, now: float) -> list[StoredObject]:
        """Objects that were left alone long enough."""
        due: list[StoredObject] = []
        while self._retries and self._retries[0][0] <= now:
            at, key = heappop(self._retries)
            stored = self.objects.by_key.get(key)
            if stored is not None and stored.retry_at == at:
                due.append(stored)
        return due

    @property
    def next_retry(self) -> float | None:
        """When the next of them is due."""
        return self._retries[0][0] if self._retries else None
