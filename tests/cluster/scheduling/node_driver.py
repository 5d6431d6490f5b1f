"""A lease machine with its clock and workers, driven by hand: what a node manager's shell would do, at once."""

from itertools import count

from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.lease import LeaseMachine
from limelight.cluster.scheduling.lease_config import LeaseConfig
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.strategy import HYBRID, LeaseSpec
from limelight.cluster.scheduling.worker_pool import PoolConfig


def spec(strategy=HYBRID, env_key="", **amounts):
    return LeaseSpec(ResourceSet.parse(amounts or {"CPU": 1}), strategy, env_key=env_key)


class NodeDriver:
    """Carries out the machine's commands to start and stop workers; all others are kept for the test to look at."""

    def __init__(self, total=None, *, start_workers=True, config=None, labels=None, peers=0):
        self.now = 0.0
        config = config or LeaseConfig(pool=PoolConfig(max_starting=100))
        self.machine = LeaseMachine("here", ResourceSet.parse(total or {"CPU": 4}), labels, config)
        self.start_workers = start_workers
        self.said: list[m.LeaseCommand] = []
        self.starts: list[m.StartWorker] = []
        self.live: set[str] = set()
        self.granted: dict[int, m.Grant | m.WorkerGranted] = {}
        self._versions = count(1)
        self._names = count(1)
        if peers:
            self.tell(m.PeersChanged(peers))
            self.wait(0.1)

    def tell(self, event):
        """Hand the machine an event; returns what it says to others than workers."""
        said = []
        commands = self.machine.handle(event, self.now)
        while commands:
            command = commands.pop(0)
            if isinstance(command, m.StartWorker):
                self.starts.append(command)
                if self.start_workers:
                    commands += self.come_up()
            elif isinstance(command, m.StopWorker):
                assert command.worker_id in self.live, "stopped twice, or never started"
                self.live.discard(command.worker_id)
            else:
                if isinstance(command, (m.Grant, m.WorkerGranted)):
                    self.granted[command.lease_id] = command
                said.append(command)
        self.said += said
        return said

    def come_up(self):
        """The oldest start that is under way brings a worker."""
        start = self.starts.pop(0)
        name = f"w{next(self._names)}"
        self.live.add(name)
        return self.machine.handle(m.WorkerStarted(start.start_id, name), self.now)

    def demand(self, wanted, caller="a", key=b"k", version=None, **fields):
        fields.setdefault("spec", spec())
        return self.tell(
            m.DemandChanged(caller, key, fields.pop("spec"), wanted, version or next(self._versions), **fields)
        )

    def wait(self, seconds, tick=0.05):
        """Let time pass, ticking."""
        said = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + tick)
            said += self.tell(m.Tick())
        return said

    def held(self, caller="a"):
        return [
            lease.lease_id for lease in self.machine.book.leases() if lease.demand.key[0] == caller and lease.worker_id
        ]

    def available(self, kind="CPU"):
        return self.machine.ledger.available[kind] / 10_000


def of(kind, said):
    """The messages of one type."""
    return [message for message in said if isinstance(message, kind)]
