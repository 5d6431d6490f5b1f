"""Whose turn it is for a node's resources: grants in order, and leases asked back for those that wait."""

from collections.abc import Iterable

from .bundle import BundleTable
from .fairness import ReclaimPlan, holds_back, missing
from .lease_book import LeaseBook
from .lease_config import LeaseConfig
from .lease_message import Reclaim, ReservePrepare
from .lease_queue import Demand, Lease, LeaseQueue
from .ledger import Ledger, utilisation
from .resources import CPU, UNIT, total_of
from .strategy import Hybrid, InBundle, NodeAffinity, NodeLabels


class Turns:
    """Grants the node's resources to its queue. Shares the lease machine's parts; not thread-safe.

    Attributes:
        peers: how many other nodes demand could go to.
        sent_here: leases for tasks that were granted in all because the scheduler sent them here.
    """

    def __init__(
        self,
        node_id: str,
        config: LeaseConfig,
        ledger: Ledger,
        bundles: BundleTable,
        queue: LeaseQueue,
        book: LeaseBook,
    ) -> None:
        self.peers = 0
        self.sent_here = 0
        self._node_id = node_id
        self._config = config
        self._ledger = ledger
        self._bundles = bundles
        self._queue = queue
        self._book = book

    def grant(self, barred_here: Iterable[str], now: float) -> bool:
        """Open leases, each waiting demand in its turn, until nothing more fits. True if there were any.

        `barred_here`: kinds of the node's resources that are kept for bundles under way.
        """
        barred = {(id(self._ledger), kind) for kind in barred_here}
        granted = False
        while self._grant_one(set(barred), now):
            granted = True
        return granted

    def reclaim(self, prepares: Iterable[ReservePrepare], now: float) -> list[Reclaim]:
        """Leases that are to be asked back for those that wait, bundles first."""
        plan = ReclaimPlan(self._book.leases(), now, self._config.quantum)
        asked: list[Lease] = []
        for event in prepares:
            lacking = missing(total_of(event.bundles.values()), self._ledger)
            asked += plan.claim(None, lacking, self._ledger, several=True)
        for demand in sorted(self._queue.waiting(), key=lambda demand: (len(demand.leases), demand.stamp)):
            if not self._may_serve(demand, now):
                continue
            several = holds_back(now - demand.since, self._config.patience)
            for ledger in self._ledgers(demand):
                if lacking := missing(demand.spec.resources, ledger):
                    asked += plan.claim(demand, lacking, ledger, several=several)
        for lease in asked:
            lease.reclaiming = True
        return [Reclaim(*lease.demand.key, lease.lease_id) for lease in asked]

    def _grant_one(self, barred: set[tuple[int, str]], now: float) -> bool:
        for group in self._queue.oldest_first():
            demand = next((demand for demand in group.values() if self._may_serve(demand, now)), None)
            if demand is None:
                continue
            for ledger in self._ledgers(demand):
                if any((id(ledger), kind) in barred for kind, _ in demand.spec.resources.amounts):
                    continue
                if self._book.open(demand, ledger, now):
                    if ledger is self._ledger and demand.request_id is None:
                        self.sent_here += demand.placed or demand.quota > 0
                    demand.quota = max(0, demand.quota - 1)
                    self._queue.settle(demand, now, 0.0)
                    if demand.ask_id:
                        self._queue.rotate(demand)
                    return True
                if holds_back(now - demand.since, self._config.patience) and self._in_reach(demand, ledger):
                    barred.update((id(ledger), kind) for kind in missing(demand.spec.resources, ledger))
        return False

    def _ledgers(self, demand: Demand) -> list[Ledger]:
        if isinstance(demand.spec.strategy, InBundle):
            return list(self._bundles.ledgers(demand.spec.strategy))
        return [self._ledger]

    def _may_serve(self, demand: Demand, now: float) -> bool:
        """Whether the node may serve the demand itself now, room or not, or is to await the scheduler's word."""
        if not demand.local or self._is_enough_without_cpu(demand, now):
            return False
        if demand.placed or demand.quota or not self.peers or now >= demand.hold_until:
            return True
        strategy = demand.spec.strategy
        if isinstance(strategy, InBundle):
            return True
        if demand.second_choice:
            return False
        if isinstance(strategy, NodeAffinity):
            return strategy.node_id == self._node_id
        if demand.locality and demand.locality[0][0] != self._node_id:
            return False
        if not isinstance(strategy, (Hybrid, NodeLabels)) or (isinstance(strategy, NodeLabels) and strategy.soft):
            return False
        resources = demand.spec.resources
        after = {kind: left - resources.get(kind) for kind, left in self._ledger.available.items()}
        return utilisation(self._ledger.total.units(), after) <= self._config.threshold

    def _is_enough_without_cpu(self, demand: Demand, now: float) -> bool:
        """Nothing else bounds the workers of a class that needs no CPU, so its demand alone would start thousands."""
        if demand.spec.resources.get(CPU) or demand.request_id is not None:
            return False
        running = sum(not lease.blocked for lease in demand.leases.values())
        most = max(1, self._ledger.total.get(CPU) // UNIT)
        return running >= most and now - demand.since < self._config.cpu_free_growth

    @staticmethod
    def _in_reach(demand: Demand, ledger: Ledger) -> bool:
        """Whether enough would be free if all leases of tasks ended."""
        return demand.spec.resources.fits(ledger.reachable())
