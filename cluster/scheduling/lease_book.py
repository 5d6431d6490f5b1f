"""The leases of a node: opened with resources, staffed with a worker, ended once."""

from collections.abc import Iterable
from itertools import count

from .lease_message import Grant, LeaseCommand, WorkerGranted
from .lease_queue import Demand, Lease
from .ledger import Ledger
from .worker_pool import PoolConfig, PoolKey, WorkerPool


class LeaseBook:
    """All leases, also those that still wait for a worker, and the pool that workers come from. Not thread-safe."""

    def __init__(self, config: PoolConfig) -> None:
        self.pool = WorkerPool(config)
        self._leases: dict[int, Lease] = {}
        self._unstaffed: dict[PoolKey, dict[int, Lease]] = {}
        self._by_worker: dict[str, Lease] = {}
        self._ids = count(1)

    def __len__(self) -> int:
        return len(self._leases)

    def leases(self) -> Iterable[Lease]:
        """All of them, oldest first."""
        return self._leases.values()

    def get(self, lease_id: int) -> Lease | None:
        """The lease, unless it has ended."""
        return self._leases.get(lease_id)

    def of_worker(self, worker_id: str) -> Lease | None:
        """The lease that the worker serves."""
        return self._by_worker.get(worker_id)

    def within(self, ledger: Ledger) -> list[Lease]:
        """The leases whose resources come from these books."""
        return [lease for lease in self._leases.values() if lease.ledger is ledger]

    def requests(self) -> tuple[str, ...]:
        """The actors' requests that were granted."""
        held = ((lease.demand.request_id, lease.worker_id) for lease in self._leases.values())
        return tuple(request_id for request_id, worker_id in held if request_id is not None and worker_id is not None)

    def unstaffed(self, demand: Demand) -> list[Lease]:
        """The demand's leases that have no worker yet."""
        return [lease for lease in demand.leases.values() if lease.worker_id is None]

    def open(self, demand: Demand, ledger: Ledger, now: float) -> Lease | None:
        """Give the demand resources for one lease; None when they do not fit."""
        allocation = ledger.allocate(demand.spec.resources, lasting=demand.request_id is not None)
        if allocation is None:
            return None
        lease = Lease(next(self._ids), demand, ledger, allocation, now)
        self._leases[lease.lease_id] = demand.leases[lease.lease_id] = lease
        self._unstaffed.setdefault(_pool_key(demand), {})[lease.lease_id] = lease
        demand.since = now
        return lease

    def staff(self, now: float) -> list[LeaseCommand]:
        """Give workers to the leases that wait for one, and start those that are missing."""
        commands: list[LeaseCommand] = []
        for key, leases in list(self._unstaffed.items()):
            while leases and (worker_id := self.pool.take(*key)):
                lease = leases.pop(next(iter(leases)))
                lease.worker_id, lease.since = worker_id, now
                self._by_worker[worker_id] = lease
                commands.append(self.grant_of(lease))
            if not leases:
                del self._unstaffed[key]
        waiting = {key: len(leases) for key, leases in self._unstaffed.items()}
        commands += self.pool.cancel(waiting)
        commands += self.pool.plan(waiting, now)
        return commands

    def grant_of(self, lease: Lease) -> Grant | WorkerGranted:
        """The message that tells whose worker it is now."""
        if lease.worker_id is None:
            raise ValueError(f"Lease {lease.lease_id} has no worker yet.")
        devices = lease.allocation.devices()
        if lease.demand.request_id is not None:
            return WorkerGranted(lease.demand.request_id, lease.lease_id, lease.worker_id, devices)
        return Grant(*lease.demand.key, lease.lease_id, lease.worker_id, devices)

    def end(self, lease_id: int) -> Lease | None:
        """Free the lease's resources; None when it has ended before. The worker is the caller's to deal with."""
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return None
        if lease.blocked:
            lease.ledger.return_cpu(lease.allocation)
        lease.ledger.release(lease.allocation)
        lease.demand.leases.pop(lease_id, None)
        if lease.worker_id is not None:
            self._by_worker.pop(lease.worker_id, None)
        key = _pool_key(lease.demand)
        if waiting := self._unstaffed.get(key):
            waiting.pop(lease_id, None)
            if not waiting:
                del self._unstaffed[key]
        return lease

    def set_blocked(self, lease_id: int, sequence: int, *, blocked: bool) -> bool:
        """Lend out, or take back, the CPU of a lease whose worker waits; false for what is old news."""
        lease = self._leases.get(lease_id)
        if lease is None or sequence <= lease.sequence:
            return False
        lease.sequence = sequence
        if blocked != lease.blocked:
            lease.blocked = blocked
            (lease.ledger.lend_cpu if blocked else lease.ledger.return_cpu)(lease.allocation)
        return True


def _pool_key(demand: Demand) -> PoolKey:
    return demand.spec.env_key, demand.spec.job_id
