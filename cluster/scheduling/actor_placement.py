"""Finding workers for actors: which wait for room, which have asked a node."""

import itertools
from collections.abc import Iterator

import msgspec

from .actor_table import ActorRecord, ToLeaseMachine
from .cluster_view import Transit
from .explanation import WARN_AFTER, why_waiting
from .labels import LabelSelector
from .lease_message import ReleaseWorker, RequestWorker
from .policy import Chosen, Never, Policy
from .resources import ResourceSet
from .scheduler import Scheduler
from .strategy import HYBRID, InBundle, LeaseSpec, Spread, serves_anywhere
from .waiting_room import WaitingRoom, need_of

QUEUE_AFTER = 1.0
"""Seconds that an actor waits for a node with room before it queues at one without, where fairness brings its turn."""

PATIENCE = 1.0
"""Seconds that a node may take to find room, before another is tried."""


class Search:
    """An actor's search for a worker: since when, and since when it waits without having asked a node."""

    __slots__ = ("began", "record", "since", "spec")

    def __init__(self, record: ActorRecord, now: float) -> None:
        self.record = record
        self.spec = placement_spec(record)
        self.began = self.since = now


class ActorPlacement:
    """Sends each actor that needs a worker to a node. Not thread-safe.

    An actor that holds nothing while it lives (the default) is spread over the nodes with room, for no node would look
    any busier with a thousand of them.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._view = scheduler.view
        self._policy: Policy = scheduler.policy
        self._searches: dict[bytes, Search] = {}
        self._waiting = WaitingRoom[bytes, Search]()
        self._untold: dict[bytes, Search] = {}  # whose user does not know why it has no worker; oldest first
        self._transits: dict[str, Transit] = {}

    def __len__(self) -> int:
        """How many wait without a node."""
        return len(self._waiting)

    def unserved(self) -> dict[tuple[ResourceSet, LabelSelector], int]:
        """How many wait that a new node could serve, by what they need: what an autoscaler goes by."""
        load: dict[tuple[ResourceSet, LabelSelector], int] = {}
        for _, queue in self._waiting.queues():
            for search in queue.values():
                if serves_anywhere(search.spec):
                    key = (search.spec.resources, search.spec.required_labels())
                    load[key] = load.get(key, 0) + 1
        return load

    def place(self, record: ActorRecord, now: float) -> ToLeaseMachine | Never | None:
        """Ask a node for a worker; None where the actor has to wait, `Never` where no node would do."""
        actor_id = record.spec.actor_id
        search = self._searches.get(actor_id)
        if search is None:
            search = self._searches[actor_id] = self._untold[actor_id] = Search(record, now)
        if actor_id not in self._waiting:
            search.since = now
        verdict = self._policy.decide(search.spec, record.spec.home or None, record.locality)
        if isinstance(verdict, Never):
            if not verdict.fatal:
                self._waiting.add(actor_id, need_of(search.spec), search)
            return verdict
        node_id = verdict.node_id if isinstance(verdict, Chosen) else self._queue_at(search, now)
        if node_id is None:
            self._waiting.add(actor_id, need_of(search.spec), search)
            return None
        self._waiting.remove(actor_id)
        record.attempt += 1
        record.node_id = node_id
        record.request_id = f"{actor_id.hex()}:{record.attempt}"
        if isinstance(verdict, Chosen) and not verdict.queue:
            self._take(record, now)
        return self.request_of(record)

    def has_room(self, record: ActorRecord) -> bool:
        """Whether a node has room for it now, beside the one that it has a worker of."""
        verdict = self._policy.decide(placement_spec(record), record.spec.home or None, record.locality)
        return isinstance(verdict, Chosen) and not verdict.queue

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
        actor_id = record.spec.actor_id
        search = self._searches.setdefault(actor_id, Search(record, now))
        search.since = now
        self._waiting.add(actor_id, need_of(search.spec), search)

    def request_of(self, record: ActorRecord) -> ToLeaseMachine:
        """The request that is open; may be sent again."""
        return ToLeaseMachine(record.node_id, RequestWorker(record.request_id, record.spec.lease, PATIENCE))

    def tell(self, record: ActorRecord) -> bool:
        """Whether those who wait for the actor are still to be told why it has no worker: once in each search."""
        return self._untold.pop(record.spec.actor_id, None) is not None

    def overdue(self, now: float) -> list[tuple[ActorRecord, str]]:
        """Actors that have waited for room for long, and why; each once. Others may wait for a worker to start."""
        due = itertools.takewhile(lambda search: now >= search.began + WARN_AFTER, self._untold.values())
        return [
            (search.record, why_waiting(self._view, search.spec, now - search.began))
            for search in list(due)
            if search.record.spec.actor_id in self._waiting and self.tell(search.record)
        ]

    def settled(self, record: ActorRecord) -> None:
        """The actor has a worker, or needs none any more."""
        self._searches.pop(record.spec.actor_id, None)
        self._untold.pop(record.spec.actor_id, None)

    def waiting(self, node_id: str = "") -> Iterator[ActorRecord]:
        """Actors without a node that are to be placed again, while they are.

        Where the first of those that need the same still waits after it was placed again, so must the others.

        Args:
            node_id: only those that news of this node may concern; "": all.
        """
        room = self._waiting
        queues = room.served_by(node_id, self._view.groups_on(node_id)) if node_id else room.queues()
        for _, queue in queues:
            while queue:
                actor_id, search = next(iter(queue.items()))
                yield search.record
                if actor_id in self._waiting:
                    break

    def answered(self, request_id: str) -> None:
        """The node has answered, or is gone."""
        if transit := self._transits.pop(request_id, None):
            self._view.settle(transit)

    def drop(self, record: ActorRecord) -> list[ToLeaseMachine]:
        """The actor needs its worker, or the search for one, no more."""
        self._waiting.remove(record.spec.actor_id)
        if not record.request_id:
            return []
        self.answered(record.request_id)
        release = ToLeaseMachine(record.node_id, ReleaseWorker(record.request_id))
        record.request_id = record.worker_id = record.node_id = ""
        record.address = None
        return [release]

    def _queue_at(self, search: Search, now: float) -> str | None:
        if now < search.since + QUEUE_AFTER:
            return None
        node = self._policy.feasible(search.spec).any_feasible()
        return None if node is None else node.node_id


def placement_spec(record: ActorRecord) -> LeaseSpec:
    """What the policy is asked for: as much as the actor holds, and at least what placing it requires."""
    lease = record.spec.lease
    needed = lease.resources.units()
    for kind, units in record.spec.placement.amounts:
        needed[kind] = max(units, needed.get(kind, 0))
    strategy = Spread() if lease.strategy == HYBRID and not lease.resources.amounts else lease.strategy
    return msgspec.structs.replace(lease, resources=ResourceSet.of_units(needed), strategy=strategy)
