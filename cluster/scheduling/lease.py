"""One node's lease machine: who gets which worker, when.

A lease is resources plus a worker. Demand waits in a `LeaseQueue`; resources come from the node's `Ledger` or from a
bundle's, workers from the `WorkerPool`. What cannot be met here is told to the scheduler (`NodeReport.unmet`), which
answers `Place`.
"""

from collections.abc import Mapping

from . import lease_message as m
from .bundle import BundleTable
from .labels import matches
from .lease_book import LeaseBook
from .lease_config import LeaseConfig
from .lease_queue import Demand, LeaseQueue
from .ledger import Ledger
from .reservation import Reservations
from .resources import ResourceSet
from .strategy import InBundle, LeaseSpec, NodeAffinity
from .turn import Turns

RESEND_AFTER = 0.5
"""Seconds after which a redirect that its caller has not taken off its demand is told again."""

RECLAIMING = (m.Tick, m.DemandChanged, m.RequestWorker, m.ReservePrepare)
"""After these events leases are asked back for whoever waits; after others there is nothing new to ask for."""


class LeaseMachine:
    """The state machine of one node manager. Single-threaded; `now` never decreases.

    Args:
        node_id: this node.
        total: what the node has.
        labels: the node's labels.
        config: limits and times.
        devices: where not all accelerators are whole and numbered from 0: kind -> index -> units.

    Attributes:
        pace: see `ReportPace`.
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
        self.turns = Turns(node_id, self.config, self.ledger, self.bundles, self.queue, self.book)
        self.reservations = Reservations(node_id, self.bundles)
        self.draining = False
        self._out: list[m.LeaseCommand] = []
        self._began: list[Demand] = []
        self._version = 0
        self._reported_at = float("-inf")
        self._dirty = self._urgent = True
        self._looked_at = 0.0
        self.pace = 1

    def handle(self, event: m.LeaseEvent, now: float) -> list[m.LeaseCommand]:
        """Take in one event; returns what is to be done, in order."""
        self._out, self._began = [], []
        self._take_in(event, now)
        answers, kept = self.reservations.settle(now, draining=self.draining)
        self._out += answers
        if not self.draining:
            self._dirty |= bool(answers) | self.turns.grant(kept, now)
            if isinstance(event, RECLAIMING) and (self.queue or self.reservations):
                self._out += self.turns.reclaim(self.reservations.waiting(), now)
        self._urgent |= any(demand.ask_id for demand in self._began)
        self._out += self.book.staff(now)
        self._report(now)
        return self._out

    def wake_at(self) -> float | None:
        """When `Tick` is next due; None while nothing would change without another event."""
        times = [self.book.pool.wake_at()]
        if self.queue or self.reservations:
            times.append(self._looked_at + self.config.tick)
        times.append(self._reported_at + self._interval())
        return min((time for time in times if time is not None), default=None)

    def _take_in(self, event: m.LeaseEvent, now: float) -> None:  # noqa: C901, PLR0912 - a case an event, no logic
        match event:
            case m.DemandChanged():
                self._demand_changed(event, now)
            case m.LeaseReturned():
                self._end_lease(
                    event.lease_id,
                    now,
                    stop=None if event.worker_ok else "its caller has lost it, or cancelled its task by force",
                )
            case m.CallerLost():
                self._caller_lost(event.caller, now)
            case m.WorkerPrepared():
                self.book.pool.prepared(event.start_id, now)
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
                self._out += self.reservations.add(event, now, draining=self.draining)
            case m.ReserveCommit():
                self._dirty |= self.bundles.commit(event.group_id, event.attempt)
            case m.ReserveCancel():
                self._cancel_bundles(event, now)
            case m.Place():
                self._place(event, now)
            case m.Unplaceable():
                if demand := self.queue.asking(event.ask_id):
                    self._unplaceable(demand, event, now)
            case m.HeadConnected():
                self._out.append(m.WorkersHeld(self.book.requests(), self.bundles.groups()))
                self._dirty = self._urgent = True
                self.pace = 1
            case m.PeersChanged():
                self.turns.peers = event.count
            case m.ReportPace():
                self.pace = event.factor
            case m.JobEnded():
                self._out += self.book.pool.stop_job(event.job_id)
            case m.Drain():
                self._drain(now)
            case m.Tick():
                self._tick(now)

    @property
    def waiting_callers(self) -> list[str]:
        """Callers of whose demand this node cannot meet all."""
        return list({caller: None for (caller, _), demand in self.queue.demands.items() if caller and demand.unmet})

    @property
    def busy(self) -> bool:
        """Whether somebody has a worker of this node."""
        return bool(self.book)

    def _drain(self, now: float) -> None:
        if self.draining:
            return
        self.draining = self._dirty = self._urgent = True
        for lease in list(self.book.leases()):
            demand = lease.demand
            if lease.worker_id is None:
                self._lose_lease(lease.lease_id, f"node {self.node_id} is draining", now, stop=True)
            elif demand.request_id is None and not lease.reclaiming:
                lease.reclaiming = True
                self._out.append(m.Reclaim(*demand.key, lease.lease_id))
        self._refuse_requests(now)
        self._out += self.book.pool.retire()

    # Demand

    def _demand_changed(self, event: m.DemandChanged, now: float) -> None:
        demand = self.queue.change(event, self._could_serve)
        if demand is None:
            return
        demand.second_choice = bool(event.spec.fallback) and not matches(demand.spec.required_labels(), self.labels)
        if demand.redirected.sum > demand.seen_redirects and now >= demand.told_at + RESEND_AFTER:
            demand.told_at = now
            self._out += [
                m.Redirect(*demand.key, node_id, total) for node_id, total in demand.redirected.by_node.items()
            ]
        excess = len(demand.leases) - demand.wanted
        for lease in self.book.unstaffed(demand)[: max(0, excess)]:
            self._end_lease(lease.lease_id, now, stop=None)
        self._settle(demand, now)

    def _could_serve(self, spec: LeaseSpec) -> bool:
        if isinstance(spec.strategy, InBundle):
            return True
        if isinstance(spec.strategy, NodeAffinity) and not spec.strategy.soft and spec.strategy.node_id != self.node_id:
            return False
        suits = any(matches(selector, self.labels) for selector in spec.alternatives())
        return suits and spec.resources.fits(self.ledger.total.units())

    def _settle(self, demand: Demand, now: float) -> None:
        if self.queue.settle(demand, now, self.config.ask_timeout):
            self._began.append(demand)
        self._dirty = True

    def _place(self, event: m.Place, now: float) -> None:
        demand = self.queue.asking(event.ask_id)
        if demand is None:
            return
        more = min(demand.placements.reach(event.node_id, event.total), demand.unmet)
        if not more:
            return
        if event.node_id == self.node_id:
            demand.quota += more
        elif demand.request_id is None:
            total = demand.redirected.add(event.node_id, more)
            demand.told_at = now
            self._out.append(m.Redirect(*demand.key, event.node_id, total))
            self._settle(demand, now)

    def _unplaceable(self, demand: Demand, event: m.Unplaceable, now: float) -> None:
        if demand.request_id is not None:
            self._out.append(m.WorkerRefused(demand.request_id, event.text))
            self.queue.forget(demand)
            return
        self._out.append(m.Infeasible(*demand.key, event.text, event.fatal, event.kind))
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

    def _cancel_bundles(self, event: m.ReserveCancel, now: float) -> None:
        self.reservations.drop(event.group_id, event.attempt)
        for ledger in self.bundles.cancel(event.group_id, event.attempt, event.first):
            for lease in self.book.within(ledger):
                self._lose_lease(lease.lease_id, m.GROUP_REMOVED, now, stop=True)
        self._dirty = True

    # Workers

    def _worker_event(self, event: m.WorkerStarted | m.WorkerStartFailed | m.WorkerLost, now: float) -> None:
        pool = self.book.pool
        match event:
            case m.WorkerStarted():
                if self.draining or not pool.started(event.start_id, event.worker_id, now):
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
            if stop is None and self.draining:
                stop = "its node is draining"
            if stop is None:
                self.book.pool.give_back(lease.worker_id, now)
            else:
                self.book.pool.forget(lease.worker_id)
                self._out.append(m.StopWorker(lease.worker_id, stop))
        self._settle(lease.demand, now)
        if lease.reclaiming and lease.demand.ask_id:
            self.queue.rotate(lease.demand)  # it was given up for others, who come first now

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
        self._refuse_requests(now)

    def _refuse_requests(self, now: float) -> None:
        for demand in [demand for demand in self.queue.waiting() if demand.request_id is not None]:
            if demand.request_id is not None and (now >= demand.refuse_at or self.draining):
                self._out.append(m.WorkerRefused(demand.request_id, f"node {self.node_id} had no room in time"))
                self.queue.forget(demand)

    # Reports

    def _interval(self) -> float:
        config = self.config
        if not self._dirty:
            return config.refresh_interval
        usual = config.urgent_interval if self._urgent else config.report_interval
        return min(config.refresh_interval, self.pace * usual)

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
                dict(self.ledger.lasting),
                self.pace,
                self.turns.sent_here,
            )
        )
