"""One node's lease machine: who gets which worker, when.

A lease is resources plus a worker. Demand waits in a `LeaseQueue`; resources come from the node's `Ledger` or a bundle's;
workers from the `WorkerPool`. What cannot be met here is told to the scheduler (`NodeReport.unmet`), which answers `Place`.
"""

from collections.abc import Iterable, Mapping

import msgspec

from . import lease_message as m
from .bundle import BundleTable
from .fairness import ReclaimPlan, holds_back, missing
from .labels import matches
from .lease_book import LeaseBook
from .lease_queue import Demand, Lease, LeaseQueue
from .ledger import Ledger, utilisation
from .resources import CPU, UNIT, ResourceSet, total_of
from .strategy import HYBRID, Hybrid, InBundle, LeaseSpec, NodeAffinity, NodeLabels
from .worker_pool import PoolConfig


RESEND_AFTER = 0.5
"""Seconds after which a redirect that its caller has not taken off its demand is told again."""


class LeaseConfig(msgspec.Struct, frozen=True):
    """Times in seconds.

    Attributes:
        pool: the worker pool's limits.
        threshold: how busy (0 to 1) the node may get before other nodes are considered for new demand.
        ask_timeout: how long the scheduler's word is awaited before the node serves demand beyond `threshold` anyway.
        report_interval: least time between reports; new unmet demand is told after `urgent_interval`.
        refresh_interval: a report is sent this often although nothing changed, so that a lost one is made good.
        quantum: how long a lease is left alone while another demand holds nothing.
        patience: how long a large request waits before smaller ones are kept from what it lacks.
        tick: how often waiting demand is looked at for fairness.
        cpu_free_growth: a class that needs no CPU gets at most as many workers as the node has CPUs, plus one each such time.
    """

    pool: PoolConfig = PoolConfig()
    threshold: float = 0.5
    ask_timeout: float = 0.1
    report_interval: float = 0.05
    urgent_interval: float = 0.005
    refresh_interval: float = 2.0
    quantum: float = 0.5
    patience: float = 0.5
    tick: float = 0.05
    cpu_free_growth: float = 0.1


class LeaseMachine:
    """The state machine of one node manager. Single-threaded; `now` never decreases.

    Args:
        node_id: this node.
        total: what the node has.
        labels: the node's labels.
        config: limits and times.
        devices: where not all accelerators are whole and numbered from 0: kind -> index -> units.
    """

    def __init__(
        self,
        node_id: str,
        total: ResourceSet,
        labels: Mapping[str, str] | None = None,
        config: LeaseConfig | None = None,
        devices: Mapping[str, Mapping[int, int]] | None = None,
    ) -> None:
        self.node_id = node_id
        self.labels = dict(labels or {})
        self.config = config or LeaseConfig()
        self.ledger = Ledger(total, devices)
        self.bundles = BundleTable(self.ledger)
        self.queue = LeaseQueue()
        self.book = LeaseBook(self.config.pool)
        self.peers = 0
        self.draining = False
        self._prepares: dict[bytes, tuple[m.ReservePrepare, float]] = {}
        self._out: list[m.LeaseCommand] = []
        self._version = 0
        self._reported_at = float("-inf")
        self._dirty = self._urgent = True
        self._looked_at = 0.0

    def handle(self, event: m.LeaseEvent, now: float) -> list[m.LeaseCommand]:
        """Take in one event; returns what is to be done, in order."""
        self._out = []
        self._take_in(event, now)
        self._dispatch(now)
        if isinstance(event, (m.Tick, m.DemandChanged, m.RequestWorker, m.ReservePrepare)):
            self._reclaim(now)
        self._out += self.book.staff(now)
        self._report(now)
        return self._out

    def wake_at(self) -> float | None:
        """When `Tick` is next due; None while nothing would change without another event."""
        times = [self.book.pool.wake_at()]
        if self.queue or self._prepares:
            times.append(self._looked_at + self.config.tick)
        times.append(self._reported_at + self._interval())
        return min((time for time in times if time is not None), default=None)

    def _take_in(self, event: m.LeaseEvent, now: float) -> None:
        match event:
            case m.DemandChanged():
                self._demand_changed(event, now)
            case m.LeaseReturned():
                self._end_lease(event.lease_id, now, stop=None if event.worker_ok else "its caller is done with it")
            case m.CallerLost():
                self._caller_lost(event.caller, now)
            case m.WorkerStarted() | m.WorkerStartFailed() | m.WorkerLost():
                self._worker_event(event, now)
            case m.WorkerBlocked() | m.WorkerUnblocked():
                blocked = isinstance(event, m.WorkerBlocked)
                self._dirty |= self.book.set_blocked(event.lease_id, event.sequence, blocked=blocked)
            case m.RequestWorker():
                self._request(event, now)
            case m.ReleaseWorker():
                self._release(event.request_id, now)
            case m.ReservePrepare():
                self._prepare(event, now)
            case m.ReserveCommit():
                self._dirty |= self.bundles.commit(event.group_id, event.attempt)
            case m.ReserveCancel():
                self._cancel_bundles(event, now)
            case m.Place():
                self._place(event, now)
            case m.Unplaceable():
                if demand := self.queue.asking(event.ask_id):
                    self._unplaceable(demand, event, now)
            case m.PeersChanged():
                self.peers = event.count
            case m.JobEnded():
                self._out += self.book.pool.stop_job(event.job_id)
            case m.Drain():
                self.draining = self._dirty = self._urgent = True
            case m.Tick():
                self._tick(now)

    # Demand

    def _demand_changed(self, event: m.DemandChanged, now: float) -> None:
        demand = self.queue.change(event, local=self._could_serve(event.spec))
        if demand is None:
            return
        if sum(demand.redirected.values()) > demand.seen_redirects and now >= demand.told_at + RESEND_AFTER:
            demand.told_at = now
            self._out += [m.Redirect(*demand.key, node_id, total) for node_id, total in demand.redirected.items()]
        excess = len(demand.leases) - demand.wanted
        for lease in self.book.unstaffed(demand)[: max(0, excess)]:
            self._end_lease(lease.lease_id, now, stop=None)
        self._settle(demand, now)

    def _could_serve(self, spec: LeaseSpec) -> bool:
        if isinstance(spec.strategy, InBundle):
            return True
        if isinstance(spec.strategy, NodeAffinity) and not spec.strategy.soft and spec.strategy.node_id != self.node_id:
            return False
        return matches(spec.required_labels(), self.labels) and spec.resources.fits(self.ledger.total.units())

    def _settle(self, demand: Demand, now: float) -> None:
        began = self.queue.settle(demand, now, self.config.ask_timeout)
        self._urgent |= began
        self._dirty = True

    def _place(self, event: m.Place, now: float) -> None:
        demand = self.queue.asking(event.ask_id)
        if demand is None:
            return
        more = event.total - demand.placements.get(event.node_id, 0)
        if more <= 0:
            return
        demand.placements[event.node_id] = event.total
        more = min(more, demand.unmet)
        if event.node_id == self.node_id:
            demand.quota += more
        elif demand.request_id is None:
            total = demand.redirected.get(event.node_id, 0) + more
            demand.redirected[event.node_id] = total
            demand.told_at = now
            self._out.append(m.Redirect(*demand.key, event.node_id, total))
            self._settle(demand, now)

    def _unplaceable(self, demand: Demand, event: m.Unplaceable, now: float) -> None:
        if demand.request_id is not None:
            self._out.append(m.WorkerRefused(demand.request_id, event.text))
            self.queue.forget(demand)
            return
        self._out.append(m.Infeasible(*demand.key, event.text, event.fatal))
        if event.fatal:
            demand.wanted = len(demand.leases)
            self._settle(demand, now)

    def _caller_lost(self, caller: str, now: float) -> None:
        for key in [key for key in self.queue.demands if key[0] == caller]:
            demand = self.queue.demands[key]
            self.queue.forget(demand)
            for lease_id in list(demand.leases):
                self._end_lease(lease_id, now, stop=f"the process {caller} that leased it is gone")
        self._dirty = True

    # Actors' workers

    def _request(self, event: m.RequestWorker, now: float) -> None:
        demand = self.queue.request(event, now, local=self._could_serve(event.spec))
        if demand is None:
            known = self.queue.demands["", event.request_id.encode()]
            self._out += [self.book.grant_of(lease) for lease in known.leases.values() if lease.worker_id]
        elif self.draining or not demand.local:
            why = "is draining" if self.draining else f"cannot hold {event.spec.resources.describe()}"
            self._out.append(m.WorkerRefused(event.request_id, f"node {self.node_id} {why}"))
            self.queue.forget(demand)
        else:
            self._settle(demand, now)

    def _release(self, request_id: str, now: float) -> None:
        if demand := self.queue.demands.get(("", request_id.encode())):
            self.queue.forget(demand)
            for lease_id in list(demand.leases):
                self._end_lease(lease_id, now, stop="its actor has ended")

    # Bundles

    def _prepare(self, event: m.ReservePrepare, now: float) -> None:
        known = self._prepares.get(event.group_id)
        if self.draining or self.bundles.is_cancelled(event.group_id, event.attempt):
            text = "the node is draining" if self.draining else "this attempt was cancelled before"
            self._out.append(m.Reserved(event.group_id, event.attempt, ok=False, text=text))
        elif known is None or known[0].attempt < event.attempt:
            self._prepares[event.group_id] = (event, now + event.patience)
            self._try_prepares(now)

    def _try_prepares(self, now: float) -> set[str]:
        """Hold what can be held now; returns the kinds that are kept for those that wait."""
        barred: set[str] = set()
        for group_id, (event, deadline) in list(self._prepares.items()):
            ok = self.bundles.prepare(group_id, event.attempt, event.bundles)
            if not ok and now < deadline and not self.draining:
                barred.update(total_of(event.bundles.values()).units())
                continue
            del self._prepares[group_id]
            text = (
                "" if ok else f"node {self.node_id} has no room: {ResourceSet.of_units(self._spare()).describe()} left"
            )
            self._out.append(m.Reserved(group_id, event.attempt, ok, text))
            self._dirty = True
        return barred

    def _cancel_bundles(self, event: m.ReserveCancel, now: float) -> None:
        waiting = self._prepares.get(event.group_id)
        if waiting and waiting[0].attempt <= event.attempt:
            del self._prepares[event.group_id]
        for ledger in self.bundles.cancel(event.group_id, event.attempt):
            for lease in self.book.within(ledger):
                self._lose_lease(lease.lease_id, "its placement group was removed", now, stop=True)
        self._dirty = True

    # Workers

    def _worker_event(self, event: m.WorkerStarted | m.WorkerStartFailed | m.WorkerLost, now: float) -> None:
        pool = self.book.pool
        match event:
            case m.WorkerStarted():
                if not pool.started(event.start_id, event.worker_id, now):
                    self._out.append(m.StopWorker(event.worker_id, "it came too late"))
            case m.WorkerStartFailed():
                key = pool.start_failed(event.start_id)
                if key is not None and event.environment:
                    self._environment_failed(key[0], event.text, now)
            case m.WorkerLost():
                lease = self.book.of_worker(event.worker_id)
                pool.forget(event.worker_id)
                if lease is not None:
                    self._lose_lease(lease.lease_id, event.text, now, stop=False)

    def _environment_failed(self, env_key: str, text: str, now: float) -> None:
        for demand in [demand for demand in self.queue.demands.values() if demand.spec.env_key == env_key]:
            waiting = self.book.unstaffed(demand)
            if not waiting and not demand.unmet:
                continue
            if demand.request_id is not None:
                self._out.append(m.WorkerRefused(demand.request_id, text, permanent=True))
                self.queue.forget(demand)
            else:
                self._out.append(m.EnvironmentFailed(*demand.key, text))
            demand.wanted = len(demand.leases) - len(waiting)
            for lease in waiting:
                self._end_lease(lease.lease_id, now, stop=None)
            self._settle(demand, now)

    def _end_lease(self, lease_id: int, now: float, *, stop: str | None) -> None:
        """A lease is over: its resources are free, its worker idle or (with `stop` saying why) ended."""
        lease = self.book.end(lease_id)
        if lease is None:
            return
        if lease.worker_id is not None:
            if stop is None and lease.allocation.shares:
                stop = "it used accelerators, and a process cannot change to others"
            if stop is None:
                self.book.pool.give_back(lease.worker_id, now)
            else:
                self.book.pool.forget(lease.worker_id)
                self._out.append(m.StopWorker(lease.worker_id, stop))
        self._settle(lease.demand, now)

    def _lose_lease(self, lease_id: int, text: str, now: float, *, stop: bool) -> None:
        lease = self.book.get(lease_id)
        if lease is None:
            return
        demand, worker_id = lease.demand, lease.worker_id
        if demand.request_id is not None:
            self.queue.forget(demand)
            if worker_id is None:
                self._out.append(m.WorkerRefused(demand.request_id, text))
            else:
                self._out.append(m.RequestedWorkerLost(demand.request_id, worker_id, text))
        elif worker_id is not None:
            self._out.append(m.LeaseLost(*demand.key, lease_id, text))
        if not stop and worker_id is not None:
            lease.worker_id = None  # it has ended already
        self._end_lease(lease_id, now, stop=text)

    # Time

    def _tick(self, now: float) -> None:
        self._looked_at = now
        pool = self.book.pool
        for start_id in pool.overdue(now):
            pool.start_failed(start_id)
        self._out += pool.reap(now)
        for demand in [demand for demand in self.queue.waiting() if demand.request_id is not None]:
            if demand.request_id is not None and (now >= demand.refuse_at or self.draining):
                self._out.append(m.WorkerRefused(demand.request_id, f"node {self.node_id} had no room in time"))
                self.queue.forget(demand)

    def _dispatch(self, now: float) -> None:
        """Grant resources, each waiting demand in its turn, until nothing more fits."""
        barred_here = self._try_prepares(now)
        while not self.draining and self._grant_one(barred_here, now):
            self._dirty = True

    def _grant_one(self, barred_here: Iterable[str], now: float) -> bool:
        barred = {(id(self.ledger), kind) for kind in barred_here}
        for group in self.queue.oldest_first():
            for demand in group.values():
                if not self._may_serve(demand, now):
                    continue
                for ledger in self._ledgers(demand):
                    if any((id(ledger), kind) in barred for kind, _ in demand.spec.resources.amounts):
                        continue
                    if self.book.open(demand, ledger, now):
                        demand.quota = max(0, demand.quota - 1)
                        if not self.queue.settle(demand, now, 0.0) and demand.ask_id:
                            self.queue.rotate(demand)
                        return True
                    if holds_back(now - demand.since, self.config.patience) and self._in_reach(demand, ledger):
                        barred.update((id(ledger), kind) for kind in missing(demand.spec.resources, ledger))
                break  # the others of this shape do not fit either
        return False

    def _ledgers(self, demand: Demand) -> list[Ledger]:
        if isinstance(demand.spec.strategy, InBundle):
            return list(self.bundles.ledgers(demand.spec.strategy))
        return [self.ledger]

    def _may_serve(self, demand: Demand, now: float) -> bool:
        """Whether the node may serve the demand itself now, room or not, or is to await the scheduler's word."""
        if not demand.local:
            return False
        resources = demand.spec.resources
        if not resources.get(CPU) and demand.request_id is None:
            running = sum(not lease.blocked for lease in demand.leases.values())
            most = max(1, self.ledger.total.get(CPU) // UNIT)
            if running >= most and now - demand.since < self.config.cpu_free_growth:
                return False
        if demand.placed or demand.quota or not self.peers or now >= demand.hold_until:
            return True
        strategy = demand.spec.strategy
        if isinstance(strategy, InBundle):
            return True
        if isinstance(strategy, NodeAffinity):
            return strategy.node_id == self.node_id
        if demand.locality and demand.locality[0][0] != self.node_id:
            return False
        if not isinstance(strategy, (Hybrid, NodeLabels)) or (isinstance(strategy, NodeLabels) and strategy.soft):
            return False
        after = {kind: left - resources.get(kind) for kind, left in self.ledger.available.items()}
        return utilisation(self.ledger.total.units(), after) <= self.config.threshold

    def _in_reach(self, demand: Demand, ledger: Ledger) -> bool:
        """Whether enough would be free if all leases of tasks ended."""
        return demand.spec.resources.fits(self.book.reachable(ledger))

    def _reclaim(self, now: float) -> None:
        """Ask leases back for those that wait."""
        if (not self.queue and not self._prepares) or self.draining:
            return
        plan = ReclaimPlan(self.book.leases(), now, self.config.quantum)
        for event, _ in self._prepares.values():
            request = total_of(event.bundles.values())
            self._ask_back(plan.claim(None, missing(request, self.ledger), self.ledger, several=True))
        for demand in list(self.queue.waiting()):
            if not self._may_serve(demand, now):
                continue
            several = holds_back(now - demand.since, self.config.patience)
            for ledger in self._ledgers(demand):
                if lacking := missing(demand.spec.resources, ledger):
                    self._ask_back(plan.claim(demand, lacking, ledger, several=several))

    def _ask_back(self, leases: Iterable[Lease]) -> None:
        for lease in leases:
            lease.reclaiming = True
            self._out.append(m.Reclaim(*lease.demand.key, lease.lease_id))

    # Reports

    def _interval(self) -> float:
        if not self._dirty:
            return self.config.refresh_interval
        return self.config.urgent_interval if self._urgent else self.config.report_interval

    def _spare(self) -> dict[str, int]:
        return {kind: max(0, left) for kind, left in self.ledger.available.items()}

    def _report(self, now: float) -> None:
        if now < self._reported_at + self._interval():
            return
        self._version += 1
        self._reported_at, self._dirty, self._urgent = now, False, False
        self._out.append(
            m.NodeReport(
                self.node_id,
                self._version,
                self.ledger.total,
                dict(self.ledger.available),
                {kind: dict(free) for kind, free in self.ledger.free.items()},
                self.labels,
                self.draining,
                self.bundles.reports(),
                tuple(demand.report() for demand in self.queue.waiting() if demand.request_id is None),
            )
        )
