"""A simulated cluster: the real scheduler and the real lease machines, joined by a simulated network."""

from random import Random

from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling import scheduler as s
from limelight.cluster.scheduling.cluster_view import ClusterView
from limelight.cluster.scheduling.lease import LeaseMachine
from limelight.cluster.scheduling.lease_config import LeaseConfig
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.worker_pool import PoolConfig

from .caller import Caller
from .meter import Meter, unmeasured
from .world import Faults, World

HEAD = "head"
LOSS_NOTICED = 1.0
WORKER_START = 0.01


class SimCluster:
    """Owns the machines and carries their commands out."""

    def __init__(
        self,
        seed: int,
        faults: Faults | None = None,
        config: LeaseConfig | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.meter = meter
        self.run = meter.run if meter is not None else unmeasured
        self.world = World(seed, faults or Faults())
        self.config = config or LeaseConfig(pool=PoolConfig(idle_timeout=5.0, keep_idle=0), report_interval=0.1)
        self.scheduler = s.Scheduler(ClusterView(Random(seed)))
        self.nodes: dict[str, LeaseMachine] = {}
        self.callers: dict[str, Caller] = {}
        self._wakes: dict[str, float] = {}
        self._workers = 0
        self.decisions = 0

    def add_node(self, node_id: str, total: dict[str, float], labels: dict[str, str] | None = None) -> LeaseMachine:
        machine = self.nodes[node_id] = LeaseMachine(node_id, ResourceSet.parse(total), labels, self.config)
        self.world.after(self.world.random.random() * 0.01, self._node_event, node_id, m.Tick())
        return machine

    def add_caller(self, name: str, home: str) -> Caller:
        caller = self.callers[name] = Caller(self, name, home)
        return caller

    def kill_node(self, node_id: str) -> None:
        """The node falls silent; after a while everybody knows."""
        del self.nodes[node_id]
        self.world.after(LOSS_NOTICED, self._head_event, s.NodeLost(node_id))
        for caller in list(self.callers.values()):
            self.world.after(LOSS_NOTICED, caller.node_lost, node_id)

    def kill_worker(self, node_id: str) -> None:
        """One leased worker of the node crashes."""
        machine = self.nodes.get(node_id)
        leased = [lease.worker_id for lease in machine.book.leases() if lease.worker_id] if machine else []
        if leased:
            worker_id = leased[int(self.world.random.random() * len(leased))]
            self._node_event(node_id, m.WorkerLost(worker_id, "killed by the test"))

    def to_node(self, source: str, node_id: str, event: m.LeaseEvent, *, may_lose: bool = False) -> None:
        once = isinstance(event, m.DemandChanged)
        self.world.send(source, node_id, self._node_event, node_id, event, may_lose=may_lose, once=once)

    def _head_event(self, event: s.SchedulerEvent) -> None:
        commands = self.run("scheduler", self.scheduler.handle, event, self.world.now)
        for command in commands:
            self.decisions += 1
            may_lose = isinstance(command.event, m.Place)
            self.to_node(HEAD, command.node_id, command.event, may_lose=may_lose)
        self._wake(HEAD, self.scheduler.wake_at())

    def _node_event(self, node_id: str, event: m.LeaseEvent) -> None:
        machine = self.nodes.get(node_id)
        if machine is None or (isinstance(event, m.DemandChanged) and not self.callers[event.caller].alive):
            return  # a channel that was declared lost delivers nothing more
        for command in self.run("node", machine.handle, event, self.world.now):
            self._carry_out(node_id, command)
        if self.meter is None:
            self.check(machine)
        self._wake(node_id, machine.wake_at())

    def _carry_out(self, node_id: str, command: m.LeaseCommand) -> None:
        match command:
            case m.Grant() | m.Redirect() | m.Reclaim() | m.LeaseLost() | m.Infeasible() | m.EnvironmentFailed():
                caller = self.callers[command.caller]
                self.world.send(node_id, command.caller, caller.hear, node_id, command, once=True)
            case m.StartWorker():
                self._workers += 1
                started = m.WorkerStarted(command.start_id, f"w{self._workers}")
                self.world.after(WORKER_START, self._node_event, node_id, started)
            case m.NodeReport():
                self.world.send(node_id, HEAD, self._head_event, command, may_lose=True)
            case _:
                pass

    def _wake(self, who: str, at: float | None) -> None:
        """Tick the machine when it wants it; of several times the earliest."""
        if at is None or self._wakes.get(who, float("inf")) <= at:
            return
        self._wakes[who] = at
        self.world.at(at, self._tick, who, at)

    def _tick(self, who: str, at: float) -> None:
        if self._wakes.get(who) == at:
            del self._wakes[who]
            if who == HEAD:
                self._head_event(s.SchedulerTick())
            else:
                self._node_event(who, m.Tick())

    @staticmethod
    def check(machine: LeaseMachine) -> None:
        """Nothing is over-committed, but CPUs whose holders came back from waiting."""
        for kind, left in machine.ledger.available.items():
            if left < 0:
                was_blocked = any(lease.sequence for lease in machine.book.leases())
                assert kind == "CPU", (machine.node_id, kind, left)
                assert was_blocked, (machine.node_id, kind, left)

    def check_books(self) -> None:
        """Every node's books balance: what is not available is held by a lease or a bundle."""
        for machine in self.nodes.values():
            held: dict[str, int] = {}
            for lease in machine.book.leases():
                for kind, units in lease.allocation.resources.amounts:
                    if lease.ledger is machine.ledger and not (lease.blocked and kind == "CPU"):
                        held[kind] = held.get(kind, 0) + units
            total = machine.ledger.total.units()
            left = {kind: total[kind] - held.get(kind, 0) for kind in total}
            assert machine.ledger.available == left, machine.node_id

    def check_empty(self) -> None:
        """Nothing leaked: no lease, no demand, everything available."""
        for machine in self.nodes.values():
            assert not list(machine.book.leases()), machine.node_id
            assert not len(machine.queue), machine.node_id
            assert machine.ledger.available == machine.ledger.total.units(), machine.node_id
