"""A node's side of placement groups: bundles held, and opened for leases once every node holds its own."""

from collections.abc import Iterator

from .lease_message import BundleReport
from .ledger import Allocation, Ledger
from .resources import ResourceSet
from .strategy import InBundle

MAX_TOMBSTONES = 10_000


class Bundle:
    """Resources set apart on this node."""

    __slots__ = ("allocation", "attempt", "committed", "ledger")

    def __init__(self, allocation: Allocation, attempt: int) -> None:
        self.allocation = allocation
        self.attempt = attempt
        self.committed = False
        self.ledger = Ledger.within(allocation)


class BundleTable:
    """The bundles of a node. Not thread-safe.

    A group's attempts are numbered; a cancelled one is never prepared again, so that a late prepare holds nothing.
    """

    def __init__(self, node: Ledger) -> None:
        self._node = node
        self._groups: dict[bytes, dict[int, Bundle]] = {}
        self._cancelled: dict[bytes, int] = {}

    def is_cancelled(self, group_id: bytes, attempt: int) -> bool:
        """Whether that attempt, or a later one, was given up."""
        return attempt <= self._cancelled.get(group_id, -1)

    def prepare(self, group_id: bytes, attempt: int, wanted: dict[int, ResourceSet]) -> bool:
        """Hold all the bundles or none; true also where they are held already."""
        bundles = self._groups.get(group_id, {})
        missing = {index: resources for index, resources in wanted.items() if index not in bundles}
        held: dict[int, Allocation] = {}
        for index, resources in missing.items():
            allocation = self._node.allocate(resources, lasting=True)
            if allocation is None:
                for taken in held.values():
                    self._node.release(taken)
                return False
            held[index] = allocation
        for index, allocation in held.items():
            self._groups.setdefault(group_id, {})[index] = Bundle(allocation, attempt)
        return True

    def commit(self, group_id: bytes, attempt: int) -> bool:
        """Open the bundles of attempts up to this one; false where there is none to open."""
        opened = False
        for bundle in self._groups.get(group_id, {}).values():
            if bundle.attempt <= attempt and not bundle.committed:
                bundle.committed = opened = True
        return opened

    def cancel(self, group_id: bytes, attempt: int, first: int = 0) -> list[Ledger]:
        """Forget the bundles of attempts from `first` on. Returns their books; the caller ends the leases in them."""
        self._cancelled[group_id] = max(attempt, self._cancelled.pop(group_id, -1))
        while len(self._cancelled) > MAX_TOMBSTONES:
            self._cancelled.pop(next(iter(self._cancelled)))
        bundles = self._groups.get(group_id, {})
        gone = [index for index, bundle in bundles.items() if first <= bundle.attempt <= attempt]
        ledgers = [bundles[index].ledger for index in gone]
        for index in gone:
            self._node.release(bundles.pop(index).allocation)
        if not bundles:
            self._groups.pop(group_id, None)
        return ledgers

    def ledgers(self, target: InBundle) -> Iterator[Ledger]:
        """The open books that a request may be served from."""
        for index, bundle in self._groups.get(target.group_id, {}).items():
            if bundle.committed and target.bundle_index in {-1, index}:
                yield bundle.ledger

    def groups(self) -> tuple[bytes, ...]:
        """The groups that have bundles here, open or not."""
        return tuple(self._groups)

    def reports(self) -> tuple[BundleReport, ...]:
        """As the head is told them."""
        return tuple(
            BundleReport(
                group_id,
                index,
                bundle.allocation.resources,
                dict(bundle.ledger.available),
                {kind: dict(free) for kind, free in bundle.ledger.free.items()},
                dict(bundle.ledger.lasting),
            )
            for group_id, bundles in self._groups.items()
            for index, bundle in bundles.items()
            if bundle.committed
        )
