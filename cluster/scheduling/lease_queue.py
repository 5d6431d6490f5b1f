"""What waits at a node: callers' demands for leases, grouped by need so that none waits behind another's need."""

from collections.abc import Callable, Iterator
from itertools import count

from .lease_message import DemandChanged, RequestWorker, UnmetDemand
from .ledger import Allocation, Ledger
from .resources import ResourceSet
from .strategy import InBundle, LeaseSpec
from .tally import Tally

DemandKey = tuple[str, bytes]
Shape = tuple[ResourceSet, InBundle | None]
"""What decides whether a demand can be granted now: the amounts, and whose books they come from."""


class Lease:
    """A worker (or, before there is one, resources for it) in the hands of a caller."""

    __slots__ = (
        "allocation",
        "blocked",
        "demand",
        "lease_id",
        "ledger",
        "reclaiming",
        "sequence",
        "since",
        "worker_id",
    )

    def __init__(self, lease_id: int, demand: "Demand", ledger: Ledger, allocation: Allocation, now: float) -> None:
        self.lease_id = lease_id
        self.demand = demand
        self.ledger = ledger
        self.allocation = allocation
        self.since = now
        self.worker_id: str | None = None
        self.blocked = False
        self.sequence = 0
        self.reclaiming = False


class Demand:
    """One caller's demand for one class (or an actor's request), and the leases it has.

    Attributes:
        wanted: as last declared, held leases included.
        quota: how many more the scheduler has sent here although the node is busy.
        redirected: workers sent to other nodes, in all, by node; the caller was told at `told_at`.
        since: when it began to wait, or was last granted a lease.
        hold_until: before this time the scheduler's word is awaited where a better node may exist.
        ask_id: names this stretch of waiting to the scheduler; 0 while nothing is unmet.
        second_choice: this node meets only what the spec falls back to, so the scheduler looks for a better one first.
        placements: the newest `Place.total` by node, for this ask.
        request_id: set where it is an actor's request.
        refuse_at: when an actor's request is refused.
    """

    __slots__ = (
        "ask_id",
        "hold_until",
        "key",
        "leases",
        "local",
        "locality",
        "placed",
        "placements",
        "quota",
        "redirected",
        "refuse_at",
        "request_id",
        "second_choice",
        "seen_redirects",
        "shape",
        "since",
        "spec",
        "stamp",
        "told_at",
        "version",
        "wanted",
    )

    def __init__(self, key: DemandKey, spec: LeaseSpec, *, local: bool) -> None:
        self.key = key
        self.spec = spec
        self.local = local
        self.shape: Shape = (spec.resources, spec.strategy if isinstance(spec.strategy, InBundle) else None)
        self.wanted = 0
        self.version = -1
        self.placed = False
        self.second_choice = False
        self.locality: tuple[tuple[str, int], ...] = ()
        self.seen_redirects = 0
        self.redirected = Tally()
        self.leases: dict[int, Lease] = {}
        self.stamp = 0
        self.since = 0.0
        self.told_at = 0.0
        self.quota = 0
        self.hold_until = 0.0
        self.ask_id = 0
        self.placements = Tally()
        self.request_id: str | None = None
        self.refuse_at = 0.0

    @property
    def unmet(self) -> int:
        """How many workers are still to be found here or elsewhere."""
        unseen = max(0, self.redirected.sum - self.seen_redirects)
        return max(0, self.wanted - len(self.leases) - unseen)

    def report(self) -> UnmetDemand:
        """As the scheduler is told it."""
        return UnmetDemand(self.ask_id, self.spec, self.unmet, self.placements.sum, self.locality)


class LeaseQueue:
    """All demands of a node, and those of them that wait, in the order they came. Not thread-safe."""

    def __init__(self) -> None:
        self.demands: dict[DemandKey, Demand] = {}
        self._groups: dict[Shape, dict[DemandKey, Demand]] = {}
        self._asks: dict[int, Demand] = {}
        self._stamps = count(1)
        self._ask_ids = count(1)

    def change(self, event: DemandChanged, is_local: Callable[[LeaseSpec], bool]) -> Demand | None:
        """Take in a declaration; None when a newer one was there before. `is_local`: could this node ever serve it."""
        key = (event.caller, event.class_key)
        demand = self.demands.get(key)
        if demand is None:
            demand = self.demands[key] = Demand(key, event.spec, local=is_local(event.spec))
        if event.version <= demand.version:
            return None
        demand.version = event.version
        demand.wanted = max(0, event.wanted)
        demand.placed = event.placed
        demand.seen_redirects = event.seen_redirects
        demand.locality = event.locality
        return demand

    def request(self, event: RequestWorker, now: float, *, local: bool) -> Demand | None:
        """Take in an actor's request; None when it is known already."""
        key = ("", event.request_id.encode())
        if key in self.demands:
            return None
        demand = self.demands[key] = Demand(key, event.spec, local=local)
        demand.wanted, demand.placed, demand.request_id = 1, True, event.request_id
        demand.refuse_at = now + event.patience
        return demand

    def settle(self, demand: Demand, now: float, hold: float) -> bool:
        """Let the demand wait if it is unmet, and not if it is met. True where it begins to wait.

        `hold` is how many seconds the scheduler has to name a better place.
        """
        if demand.unmet and demand.key in self.demands:
            if demand.ask_id:
                return False
            demand.ask_id = next(self._ask_ids)
            demand.placements = Tally()
            demand.since, demand.hold_until = now, now + hold
            self._asks[demand.ask_id] = demand
            self._enqueue(demand)
            return True
        if demand.ask_id:
            self._asks.pop(demand.ask_id)
            demand.ask_id = demand.quota = 0
            self._leave(demand)
        return False

    def rotate(self, demand: Demand) -> None:
        """The demand had its turn; others of its shape come first now."""
        self._leave(demand)
        self._enqueue(demand)

    def forget(self, demand: Demand) -> None:
        """Drop a demand whose caller is gone."""
        demand.wanted = 0
        self.settle(demand, 0.0, 0.0)
        self.demands.pop(demand.key, None)

    def asking(self, ask_id: int) -> Demand | None:
        """The demand that waits under that name."""
        return self._asks.get(ask_id)

    def oldest_first(self) -> list[dict[DemandKey, Demand]]:
        """The waiting demands by shape, the shape whose first demand waits longest first; each in order."""
        groups = list(self._groups.values())
        if len(groups) > 1:
            groups.sort(key=lambda group: next(iter(group.values())).stamp)
        return groups

    def waiting(self) -> Iterator[Demand]:
        """All waiting demands."""
        return iter(self._asks.values())

    def __len__(self) -> int:
        return len(self._asks)

    def _enqueue(self, demand: Demand) -> None:
        demand.stamp = next(self._stamps)
        self._groups.setdefault(demand.shape, {})[demand.key] = demand

    def _leave(self, demand: Demand) -> None:
        group = self._groups.get(demand.shape, {})
        group.pop(demand.key, None)
        if not group:
            self._groups.pop(demand.shape, None)
