"""A simulated caller: what a driver's submitter does, as far as the scheduler sees it."""

from collections import deque
from typing import TYPE_CHECKING

from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.strategy import LeaseSpec

if TYPE_CHECKING:
    from .cluster import SimCluster

REFRESH = 1.0


class Held:
    """A lease in the caller's hands."""

    def __init__(self, node_id: str, lease_id: int) -> None:
        self.node_id = node_id
        self.lease_id = lease_id
        self.task: int | None = None
        self.run = 0
        self.reclaimed = False


class Work:
    """One class: its tasks, its leases and what was asked of whom."""

    def __init__(
        self,
        key: bytes,
        spec: LeaseSpec,
        seconds: float,
        blocking: float = 0.0,
        locality: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.key = key
        self.spec = spec
        self.seconds = seconds
        self.blocking = blocking
        self.locality = locality
        self.pending: deque[int] = deque()
        self.running = 0
        self.leases: dict[tuple[str, int], Held] = {}
        self.assigned: dict[str, int] = {}
        self.redirects: dict[str, int] = {}
        self.declared: dict[str, tuple[int, int]] = {}
        self.last_start = 0.0
        self.longest_wait = 0.0


class Caller:
    """Declares demand at its home node, follows redirects, and runs one task at a time on each lease."""

    def __init__(self, cluster: "SimCluster", name: str, home: str) -> None:
        self.cluster, self.world, self.name, self.home = cluster, cluster.world, name, home
        self.works: dict[bytes, Work] = {}
        self.alive = True
        self.finished: dict[int, int] = {}
        self.started: dict[int, int] = {}
        self.failures = 0
        self.infeasible: list[m.Infeasible] = []
        self._seen: set[tuple[str, int]] = set()
        self._version = 0
        self._runs = 0
        self.world.after(REFRESH * (1 + self.world.random.random()), self._refresh)

    def submit(self, work: Work, tasks: range) -> None:
        self.works[work.key] = work
        work.pending.extend(tasks)
        work.last_start = self.world.now
        self._declare(work)

    def done(self) -> bool:
        return not self.alive or all(not work.pending and not work.leases for work in self.works.values())

    def hear(self, node_id: str, message: object) -> None:
        if not self.alive:
            return
        match message:
            case m.Grant():
                self._granted(node_id, message)
            case m.Redirect():
                self._redirected(message)
            case m.Reclaim():
                held = self.works[message.class_key].leases.get((node_id, message.lease_id))
                if held is not None:
                    held.reclaimed = True
            case m.LeaseLost():
                self._lost(self.works[message.class_key], (node_id, message.lease_id))
            case m.Infeasible():
                self.infeasible.append(message)

    def node_lost(self, node_id: str) -> None:
        for work in self.works.values():
            for key in [key for key in work.leases if key[0] == node_id]:
                self._lost(work, key)
            if work.assigned.pop(node_id, 0):
                self._declare(work)
        if node_id == self.home:
            self.die()

    def die(self) -> None:
        self.alive = False
        for node_id in list(self.cluster.nodes):
            self.cluster.to_node(self.name, node_id, m.CallerLost(self.name))

    def _granted(self, node_id: str, grant: m.Grant) -> None:
        key = (node_id, grant.lease_id)
        if key in self._seen:
            return
        self._seen.add(key)
        self.world.note(f"{grant.caller} {node_id} {grant.lease_id} {grant.worker_id}")
        work = self.works[grant.class_key]
        work.leases[key] = Held(node_id, grant.lease_id)
        self._next(work, key)

    def _redirected(self, message: m.Redirect) -> None:
        work = self.works[message.class_key]
        more = message.total - work.redirects.get(message.node_id, 0)
        if more > 0:
            work.redirects[message.node_id] = message.total
            if message.node_id in self.cluster.nodes:
                work.assigned[message.node_id] = work.assigned.get(message.node_id, 0) + more
            self._declare(work)

    def _next(self, work: Work, key: tuple[str, int]) -> None:
        held = work.leases[key]
        if held.reclaimed or not work.pending:
            self._give_back(work, key)
            return
        work.longest_wait = max(work.longest_wait, self.world.now - work.last_start)
        work.last_start = self.world.now
        held.task = work.pending.popleft()
        self._runs += 1
        held.run = self._runs
        work.running += 1
        self.started[held.task] = self.started.get(held.task, 0) + 1
        seconds = work.seconds * (0.5 + self.world.random.random())
        if work.blocking:
            self.world.after(seconds, self._block, work, key, held.run, work.blocking)
            seconds = 2 * seconds + work.blocking
        self.world.after(seconds, self._ended, work, key, held.run)

    def _block(self, work: Work, key: tuple[str, int], run: int, seconds: float) -> None:
        held = work.leases.get(key)
        if held is not None and held.run == run and self.alive:
            self.cluster.to_node(self.name, key[0], m.WorkerBlocked(key[1], 2 * run))
            self.world.after(seconds, self._unblock, work, key, run)

    def _unblock(self, work: Work, key: tuple[str, int], run: int) -> None:
        if key in work.leases and self.alive:
            self.cluster.to_node(self.name, key[0], m.WorkerUnblocked(key[1], 2 * run + 1))

    def _ended(self, work: Work, key: tuple[str, int], run: int) -> None:
        held = work.leases.get(key)
        if held is None or held.run != run or not self.alive or held.task is None:
            return
        self.finished[held.task] = self.finished.get(held.task, 0) + 1
        held.task = None
        work.running -= 1
        self._next(work, key)

    def _give_back(self, work: Work, key: tuple[str, int]) -> None:
        held = work.leases.pop(key)
        if not work.pending and held.node_id != self.home:
            self._assign(work, held.node_id, work.assigned.get(held.node_id, 0) - 1)
        self._declare(work)  # first, so that the node does not think this worker is still wanted
        self.cluster.to_node(self.name, held.node_id, m.LeaseReturned(held.lease_id))

    def _lost(self, work: Work, key: tuple[str, int]) -> None:
        held = work.leases.pop(key, None)
        if held is None:
            return
        if held.task is not None:
            self.failures += 1
            work.running -= 1
            work.pending.append(held.task)
        self._declare(work)

    def _assign(self, work: Work, node_id: str, count: int) -> None:
        work.assigned[node_id] = max(0, count)

    def _declare(self, work: Work, *, again: bool = False) -> None:
        held: dict[str, int] = {}
        for node_id, _ in work.leases:
            held[node_id] = held.get(node_id, 0) + 1
        if not work.pending:
            for node_id in work.assigned:
                work.assigned[node_id] = held.get(node_id, 0)
        elsewhere = 0
        for node_id, count in work.assigned.items():
            elsewhere += count
            self._say(work, node_id, count, placed=True, seen=0, again=again)
        useful = max(held.get(self.home, 0), len(work.pending) + work.running - elsewhere)
        self._say(work, self.home, useful, placed=False, seen=sum(work.redirects.values()), again=again)

    def _say(self, work: Work, node_id: str, wanted: int, *, placed: bool, seen: int, again: bool) -> None:
        before, before_seen = work.declared.get(node_id, (0, 0))
        if (wanted, seen) == (before, before_seen) and not again:
            return
        work.declared[node_id] = (wanted, seen)
        self._version += 1
        near = () if placed else work.locality
        event = m.DemandChanged(self.name, work.key, work.spec, wanted, self._version, placed, seen, near)
        self.cluster.to_node(self.name, node_id, event, may_lose=True)

    def _refresh(self) -> None:
        if self.alive:
            for work in self.works.values():
                self._declare(work, again=True)
            self.world.after(REFRESH, self._refresh)
