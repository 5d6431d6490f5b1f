"""A driver's submitter against a simulated cluster: real lease classes and demand split, simulated workers."""

from collections import Counter, deque
from types import SimpleNamespace
from typing import TYPE_CHECKING

from limelight.actors.contract import LeaseRedirected, Location
from limelight.actors.native.burst import OnTheWay
from limelight.actors.native.demand_split import DemandSplit
from limelight.actors.native.entry import STORED
from limelight.actors.native.lease import Lease
from limelight.actors.native.lease_class import LeaseClass
from limelight.actors.native.locality import nearest, patience
from limelight.actors.native.worker_link import Push
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.strategy import LeaseSpec, Spread
from limelight.transport.address import ProcessAddress
from limelight.transport.error import PeerLostError

if TYPE_CHECKING:
    from .cluster import SimCluster

REFUSED_AFTER = 0.05
ROUND_TRIP = 0.001
CHECKED = 100
"""Up to so many nodes, what callers ask of them is checked after every event: looking at all takes long with more."""


class Work:
    """One class: its tasks, how long they take, and where their arguments lie (node and bytes)."""

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
        self.arguments = [stored(node_id, size) for node_id, size in locality]
        self.last_start = 0.0
        self.longest_wait = 0.0


class NodeName(bytes):
    """Stands for a node id: its digits are the name."""

    def hex(self) -> str:
        return self.decode()


def stored(node_id: str, size: int) -> SimpleNamespace:
    """Stands for a ref to a large argument."""
    location = Location(NodeName(node_id, "ascii"), 0, size)
    return SimpleNamespace(_entry=SimpleNamespace(state=STORED, location=location, copies=None))


class Task:
    """One task of a class; stands for a `TaskRecord`."""

    def __init__(self, number: int, work: Work) -> None:
        self.task_id = number
        self.work = work
        self.alone = False
        self.stored_args = None
        self.dependencies = work.arguments


class Worker:
    """A leased worker: runs what it was sent, one task after the other. Stands for a `WorkerLink`, too."""

    def __init__(self, node_id: str, lease_id: int) -> None:
        self.node = ProcessAddress(node_id, "host")
        self.lease_id = lease_id
        self.queue: deque[Task] = deque()
        self.current: Task | None = None
        self.runs = 0
        self.lost = False


class Asked:
    """What a caller has asked of the nodes for one class, which it checks each time: all it wants, once.

    Attributes:
        wanted: in all, as the class says.
        told: workers wanted, by node, as last said; without nodes that cannot be reached.
        seen: redirects followed, by node, as last said.
        dialling: nodes that are being dialled; only then is something else asked of whom.
    """

    def __init__(self, home: str) -> None:
        self.home = home
        self.wanted = 0
        self.told: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.dialling = 0
        self._totals: dict[tuple[str, str], int] = {}  # the newest, by who redirected and to whom
        self._to: Counter[str] = Counter()
        self._by: Counter[str] = Counter()

    def redirected(self, source: str, target: str, total: int) -> None:
        more = total - self._totals.get((source, target), 0)
        self._totals[source, target] = total
        self._to[target] += more
        self._by[source] += more
        self.told.setdefault(target, 0)

    def tell(self, node_id: str, wanted: int, *, placed: bool, seen: int) -> None:
        assert placed == (node_id != self.home), "only what was redirected is placed"
        self.told[node_id] = wanted
        self.seen[node_id] = seen
        assert wanted <= self._to[node_id] or not placed, "more is asked of a node than was redirected to it"

    def check(self, held: dict[str, int]) -> None:
        if self.dialling:
            return
        assert sum(self.told.values()) == self.wanted, (self.told, self.wanted)
        for node_id in self.told:
            assert self.seen.get(node_id, 0) == self._by[node_id], f"{node_id} is told of all of its redirects, once"
        for node_id, count in held.items():
            assert self.told.get(node_id, count) >= count, (node_id, self.told, held)


class Caller:
    """Submits tasks; is what a `DemandSplit` knows as its hub and its links, and the port of its lease classes.

    Attributes:
        failures: how many times a task's worker was lost.
        failed: how many tasks cannot run at all.
    """

    def __init__(self, cluster: "SimCluster", name: str, home: str) -> None:
        self.cluster, self.world, self.name, self.home = cluster, cluster.world, name, home
        self.node = ProcessAddress(home, "host")
        self.identity = SimpleNamespace(node_id=NodeName(home, "ascii"))
        self.links = self
        self.split = DemandSplit(self)  # type: ignore[arg-type]
        self.classes: dict[bytes, LeaseClass] = {}
        self.alive = True
        self.finished: dict[int, int] = {}
        self.started: dict[int, int] = {}
        self.ran_at: dict[int, str] = {}
        self.failures = 0
        self.failed = 0
        self.infeasible: list[m.Infeasible] = []
        self._asked: dict[bytes, Asked] = {}
        self._dirty: dict[bytes, LeaseClass] = {}

    def submit(self, work: Work, tasks: range) -> None:
        work.last_start = self.world.now
        lease_class = self.classes[work.key] = LeaseClass(work.key, work.spec, self)  # type: ignore[arg-type]
        if isinstance(work.spec.strategy, Spread):
            lease_class.spread()
        self._asked[work.key] = Asked(self.home)
        self.submit_more(work, tasks)

    def submit_more(self, work: Work, tasks: range) -> None:
        """Tasks of a class that there is, with arguments of their own."""
        lease_class = self.classes[work.key]
        lease_class.choice.matters |= bool(work.arguments)
        lease_class.scattered |= any(one._entry.location.node_id.hex() != self.home for one in work.arguments)
        for number in tasks:
            lease_class.submit(Task(number, work))  # type: ignore[arg-type]
        self._mark(lease_class)

    def done(self) -> bool:
        return not self.alive or all(not made.queue and not made.leases for made in self.classes.values())

    def waiting(self) -> list[tuple[str, int, int, int]]:
        """For a failure: what is queued, in flight and leased, by class."""
        return [
            (self.name, len(made.queue), sum(len(lease.in_flight) for lease in made.leases.values()), len(made.leases))
            for made in self.classes.values()
        ]

    # from the cluster

    def hear(self, node_id: str, message: object) -> None:
        if self.alive:
            self.cluster.run("caller", self._hear, node_id, message)

    def _hear(self, node_id: str, message: object) -> None:
        match message:
            case m.Grant():
                self._granted(node_id, message)
            case m.Redirect():
                address = ProcessAddress(message.node_id, "host")
                asked = self._asked[message.class_key]
                asked.redirected(node_id, message.node_id, message.total)
                asked.dialling += message.node_id not in self.cluster.nodes
                self.classes[message.class_key].scattered = True
                redirect = LeaseRedirected(0, message.total, address)
                self.split.redirected(self.classes[message.class_key], redirect, ProcessAddress(node_id, "host"))
                self._check()
            case m.Reclaim():
                self.classes[message.class_key].reclaim(_name(node_id, message.lease_id), self.world.now)
            case m.LeaseLost():
                self._lost(self.classes[message.class_key], _name(node_id, message.lease_id))
            case m.Infeasible():
                self.infeasible.append(message)
                if message.fatal:
                    lease_class = self.classes[message.class_key]
                    self.failed += len(lease_class.refused())
                    self._mark(lease_class)

    def node_lost(self, node_id: str) -> None:
        if node_id == self.home:
            self.die()
        for lease_class in self.classes.values():
            for name, lease in list(lease_class.leases.items()):
                if lease.link.node.process_id == node_id:
                    self._lost(lease_class, name)
        self._unreachable(node_id)
        self.split.node_lost(node_id)
        self._check()

    def _unreachable(self, node_id: str) -> None:
        for asked in self._asked.values():
            asked.told.pop(node_id, None)

    def _check(self) -> None:
        """Nothing is asked of two nodes, or of none."""
        if len(self.cluster.nodes) > CHECKED or self.cluster.meter is not None:
            return
        for key, asked in self._asked.items():
            held = Counter(lease.link.node.process_id for lease in self.classes[key].leases.values())
            assert held == self.classes[key].held
            if self.alive:
                asked.check(held)

    def die(self) -> None:
        self.alive = False
        for node_id in list(self.cluster.nodes):
            self.cluster.to_node(self.name, node_id, m.CallerLost(self.name))

    def _granted(self, node_id: str, grant: m.Grant) -> None:
        self.world.note(f"{grant.caller} {node_id} {grant.lease_id} {grant.worker_id}")
        lease_class = self.classes[grant.class_key]
        worker = Worker(node_id, grant.lease_id)
        if node_id not in self.cluster.nodes:
            return  # its worker cannot be reached any more
        lease_class.granted(Lease(_name(node_id, grant.lease_id), node_id, worker, self.world.now), self.world.now)

    def _lost(self, lease_class: LeaseClass, name: str) -> None:
        lease = lease_class.leases.get(name)
        if lease is None:
            return
        worker: Worker = lease.link  # type: ignore[assignment]
        worker.lost = True
        if worker.current is not None:
            self.failures += 1
        for task in lease_class.lost(name, self.world.now):
            lease_class.submit(task)
        self._mark(lease_class)

    # what `DemandSplit` needs

    def notify(self, node: ProcessAddress, _actor: str, demand: object) -> None:
        """A `Demand` goes to a node manager, which makes this of it."""
        event = m.DemandChanged(
            self.name,
            demand.class_key,
            demand.spec,
            demand.wanted,
            demand.version,
            demand.placed,
            demand.seen_redirects,
            tuple(demand.locality),
        )
        asked = self._asked[demand.class_key]
        asked.tell(node.process_id, demand.wanted, placed=demand.placed, seen=demand.seen_redirects)
        if self.alive:
            self.cluster.to_node(self.name, node.process_id, event)

    def connected(self, node: ProcessAddress, then: object) -> None:
        if node.process_id in self.cluster.nodes:
            then(SimpleNamespace(error=None))
        else:
            asked = next(asked for asked in self._asked.values() if asked.dialling)
            self.world.after(REFUSED_AFTER, self._refused, asked, node.process_id, then)

    def _refused(self, asked: Asked, node_id: str, then: object) -> None:
        asked.dialling -= 1
        self._unreachable(node_id)
        then(PeerLostError("the node is gone"))
        self._check()

    # LeasePort

    def is_near(self, lease: Lease, task: Task) -> bool:
        near = nearest(task)  # type: ignore[arg-type]
        return near == lease.link.node.process_id

    def is_home(self, lease: Lease) -> bool:
        return lease.node == self.home

    def patience(self, lease: Lease, task: Task) -> float:
        return patience(task, lease.link.node.process_id)  # type: ignore[arg-type]

    def coming(self, lease_class: LeaseClass) -> OnTheWay:
        return self.split.coming(lease_class)

    def demand(self, lease_class: LeaseClass, wanted: int) -> None:
        self._asked[lease_class.key].wanted = wanted
        self.split.declare(lease_class, wanted)
        self._check()

    def push(self, lease: Lease, task: Task) -> Push:
        worker: Worker = lease.link
        worker.queue.append(task)
        if worker.current is None:
            self._start(lease)
        return Push.SENT

    def recall(self, lease: Lease, tasks: list[Task]) -> None:
        self.world.after(ROUND_TRIP, self._recalled, lease, tasks)

    def _recalled(self, lease: Lease, tasks: list[Task]) -> None:
        worker: Worker = lease.link
        lease.recalling = False
        if worker.lost or not self.alive:
            return
        for task in reversed(tasks):
            if task in worker.queue:
                worker.queue.remove(task)
                self.classes[task.work.key].returned(lease, task)
        self._mark(self.classes[tasks[0].work.key])

    def give_back(self, lease: Lease, worker_ok: bool) -> None:
        worker: Worker = lease.link
        if self.alive:
            self.cluster.to_node(self.name, worker.node.process_id, m.LeaseReturned(worker.lease_id, worker_ok))

    def wake_at(self, lease_class: LeaseClass, when: float) -> None:
        self.world.at(when, self._tick, lease_class, when)

    def _tick(self, lease_class: LeaseClass, when: float) -> None:
        if self.alive:
            self.cluster.run("caller", lease_class.tick, self.world.now, when)

    def _mark(self, lease_class: LeaseClass) -> None:
        if not self._dirty:
            self.world.after(0.0, self._dispatch)
        self._dirty[lease_class.key] = lease_class

    def _dispatch(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for lease_class in dirty.values():
            if self.alive:
                self.cluster.run("caller", lease_class.dispatch, self.world.now)

    # workers

    def _start(self, lease: Lease) -> None:
        worker: Worker = lease.link
        task = worker.current = worker.queue.popleft()
        work = task.work
        work.longest_wait = max(work.longest_wait, self.world.now - work.last_start)
        work.last_start = self.world.now
        worker.runs += 1
        self.ran_at[task.task_id] = worker.node.process_id
        self.started[task.task_id] = self.started.get(task.task_id, 0) + 1
        seconds = work.seconds * (0.5 + self.world.random.random())
        if work.blocking:
            self.world.after(seconds, self._block, worker, worker.runs, work.blocking)
            seconds = 2 * seconds + work.blocking
        self.world.after(seconds, self._ended, lease, task, seconds)

    def _block(self, worker: Worker, run: int, seconds: float) -> None:
        if not worker.lost and worker.runs == run and self.alive:
            self.cluster.to_node(self.name, worker.node.process_id, m.WorkerBlocked(worker.lease_id, 2 * run))
            self.world.after(seconds, self._unblock, worker, run)

    def _unblock(self, worker: Worker, run: int) -> None:
        if not worker.lost and self.alive:
            self.cluster.to_node(self.name, worker.node.process_id, m.WorkerUnblocked(worker.lease_id, 2 * run + 1))

    def _ended(self, lease: Lease, task: Task, seconds: float) -> None:
        worker: Worker = lease.link
        if worker.lost or not self.alive:
            return
        worker.current = None
        self.finished[task.task_id] = self.finished.get(task.task_id, 0) + 1
        lease_class = self.classes[task.work.key]
        self.cluster.run("caller", lease_class.answered, lease, task, seconds, self.world.now)
        if worker.queue:
            self._start(lease)
        self._mark(lease_class)


def _name(node_id: str, lease_id: int) -> str:
    return f"{node_id}/{lease_id}"
