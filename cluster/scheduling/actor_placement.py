"""Finding workers for actors: which wait for room, which have asked a node."""

import itertools

import msgspec

from .actor_table import ActorRecord, ToLeaseMachine
from .cluster_view import Transit
from .explanation import WARN_AFTER, why_waiting
from .lease_message import ReleaseWorker, RequestWorker
from .policy import Chosen, Never, Policy
from .resources import ResourceSet
from .scheduler import Scheduler
from .strategy import HYBRID, InBundle, LeaseSpec, Spread

QUEUE_AFTER = 1.0
"""Seconds that an actor waits for a node with room before it queues at one without, where fairness brings its turn."""

PATIENCE = 1.0
"""Seconds that a node may take to find room, before another is tried."""


class ActorPlacement:
    """Sends each actor that needs a worker to a node. Not thread-safe.

    An actor that holds nothing while it lives (the default) is spread over the nodes with room, for no node would look
    any busier with a thousand of them.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._view = scheduler.view
        self._policy: Policy = scheduler.policy
        self._waiting: dict[bytes, tuple[ActorRecord, float]] = {}
        self._untold: dict[bytes, tuple[ActorRecord, float]] = {}  # who has no worker since when, oldest first
        self._searching: set[bytes] = set()
        self._transits: dict[str, Transit] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def place(self, record: ActorRecord, now: float) -> ToLeaseMachine | Never | None:
        """Ask a node for a worker; None where the actor has to wait, `Never` where no node would do."""
        actor_id = record.spec.actor_id
        if actor_id not in self._searching:
            self._searching.add(actor_id)
            self._untold[actor_id] = (record, now)
        _, since = self._waiting.pop(actor_id, (record, now))
        verdict = self._policy.decide(placement_spec(record), record.spec.home or None)
        if isinstance(verdict, Never):
            if not verdict.fatal:
                self._waiting[actor_id] = (record, since)
            return verdict
        node_id = verdict.node_id if isinstance(verdict, Chosen) else self._queue_at(record, since, now)
        if node_id is None:
            self._waiting[actor_id] = (record, since)
            return None
        record.attempt += 1
        record.node_id = node_id
        record.request_id = f"{record.spec.actor_id.hex()}:{record.attempt}"
        if isinstance(verdict, Chosen) and not verdict.queue:
            self._take(record, now)
        return self.request_of(record)

    def _take(self, record: ActorRecord, now: float) -> None:
        """Count what the actor will hold as taken. One that queues takes nothing: there is nothing to take."""
        lease = record.spec.lease
        if isinstance(lease.strategy, InBundle):
            self._view.reserve_in_bundle(lease.strategy.group_id, record.node_id, lease.resources)
        else:
            transit = self._view.reserve(record.node_id, lease.resources, now, until_told=True)
            self._transits[record.request_id] = transit

    def wait(self, record: ActorRecord, now: float) -> None:
        """Try again later."""
        self._waiting[record.spec.actor_id] = (record, now)

    def request_of(self, record: ActorRecord) -> ToLeaseMachine:
        """The request that is open; may be sent again."""
        return ToLeaseMachine(record.node_id, RequestWorker(record.request_id, record.spec.lease, PATIENCE))

    def tell(self, record: ActorRecord) -> bool:
        """Whether those who wait for the actor are still to be told why it has no worker: once in each search."""
        return self._untold.pop(record.spec.actor_id, None) is not None

    def overdue(self, now: float) -> list[tuple[ActorRecord, str]]:
        """Actors that have waited for room for long, and why; each once. Others may wait for a worker to start."""
        due = itertools.takewhile(lambda untold: now >= untold[1] + WARN_AFTER, self._untold.values())
        found = [(record, since) for record, since in due if record.spec.actor_id in self._waiting]
        return [
            (record, why_waiting(self._view, placement_spec(record), now - since))
            for record, since in found
            if self.tell(record)
        ]

    def settled(self, record: ActorRecord) -> None:
        """The actor has a worker, or needs none any more."""
        self._searching.discard(record.spec.actor_id)
        self._untold.pop(record.spec.actor_id, None)

    def waiting(self) -> list[ActorRecord]:
        """Actors without a node, first come first."""
        return [record for record, _ in self._waiting.values()]

    def answered(self, request_id: str) -> None:
        """The node has answered, or is gone."""
        if transit := self._transits.pop(request_id, None):
            self._view.settle(transit)

    def drop(self, record: ActorRecord) -> list[ToLeaseMachine]:
        """The actor needs its worker, or the search for one, no more."""
        self._waiting.pop(record.spec.actor_id, None)
        if not record.request_id:
            return []
        self.answered(record.request_id)
        release = ToLeaseMachine(record.node_id, ReleaseWorker(record.request_id))
        record.request_id = record.worker_id = record.node_id = ""
        record.address = None
        return [release]

    def _queue_at(self, record: ActorRecord, since: float, now: float) -> str | None:
        if now < since + QUEUE_AFTER:
            return None
        spec = placement_spec(record)
        node = self._view.shape(spec.resources, spec.required_labels()).any_feasible()
        return None if node is None else node.node_id


def placement_spec(record: ActorRecord) -> LeaseSpec:
    """What the policy is asked for: as much as the actor holds, and at least what placing it requires."""
    lease = record.spec.lease
    needed = lease.resources.units()
    for kind, units in record.spec.placement.amounts:
        needed[kind] = max(units, needed.get(kind, 0))
    strategy = Spread() if lease.strategy == HYBRID and not lease.resources.amounts else lease.strategy
    return msgspec.structs.replace(lease, resources=ResourceSet.of_units(needed), strategy=strategy)
