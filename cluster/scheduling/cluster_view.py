"""What the scheduler knows of the nodes, from their reports.

A report replaces all that was known of its node, unless it is older than that. Between a decision and the report that
shows it, the decision's resources are *in transit*: they count as taken until it is carried out or time has passed.
Nodes report how many leases they granted because they were sent there: so many of those in transit, oldest first, were
carried out.
"""

from collections import deque
from collections.abc import Mapping
from random import Random
from typing import NamedTuple

import msgspec

from .labels import LabelSelector
from .lease_message import BundleReport, NodeReport
from .ledger import Shares, fits, utilisation
from .resources import ACCELERATORS, ResourceSet
from .shape_index import ShapeIndex
from .stock import Stock

MAX_SHAPES = 256
"""Shapes that are indexed at a time; the one not asked for longest makes room."""


class Node:
    """One node as last reported, less what is in transit to it."""

    __slots__ = (
        "available",
        "busy",
        "draining",
        "free",
        "granted",
        "has_accelerator",
        "labels",
        "lasting",
        "leaving",
        "node_id",
        "reported",
        "sent",
        "total",
        "transit",
        "unmet",
        "version",
    )

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.version = -1
        self.granted = 0
        self.sent: deque[Transit] = deque()
        self.transit: dict[str, int] = {}
        self.total: dict[str, int] = {}
        self.reported: Mapping[str, int] = {}
        self.available: dict[str, int] = {}
        self.free: Shares = {}
        self.lasting: Mapping[str, int] = {}
        self.labels: dict[str, str] = {}
        self.draining = self.leaving = False
        self.busy = 0.0
        self.has_accelerator = False
        self.unmet = 0

    def learn(self, report: NodeReport) -> None:
        """Replace what is known."""
        self._arrived(report.granted - self.granted if self.version >= 0 else 0)
        self.version, self.granted = report.version, report.granted
        if report.total.amounts != tuple(self.total.items()):
            self.total = report.total.units()
            self.has_accelerator = any(kind in ACCELERATORS for kind in self.total)
        self.reported, self.free, self.lasting = report.available, report.free, report.lasting
        self.labels, self.draining = report.labels, report.draining or self.leaving
        self.unmet = sum(demand.count for demand in report.unmet)
        self.count_again()

    def _arrived(self, leases: int) -> None:
        """So many more of the leases that were sent here are in the report."""
        while self.sent and (not self.sent[0].open or leases > 0):
            transit = self.sent[0]
            if transit.open:
                if leases < transit.leases:
                    transit.leases -= leases
                    return
                leases -= transit.leases
                self.end(transit)
            self.sent.popleft()

    def end(self, transit: "Transit") -> None:
        """The resources of a decision are not on their way any more. `count_again` is to be called."""
        for kind, units in transit.resources.amounts:
            self.transit[kind] -= units
            if not self.transit[kind]:
                del self.transit[kind]
        transit.open = False

    def count_again(self) -> None:
        """Work out what is available and how busy that makes the node."""
        self.available = dict(self.reported)
        for kind, units in self.transit.items():
            self.available[kind] = self.available.get(kind, 0) - units
        self.busy = utilisation(self.total, self.available)

    def fits(self, request: ResourceSet) -> bool:
        """Whether it could hold `request` now."""
        return not self.draining and fits(request, self.available, self.free)

    def holds(self, request: ResourceSet) -> bool:
        """Whether it could hold `request` if it were empty."""
        return not self.draining and request.fits(self.total)

    def reaches(self, request: ResourceSet) -> bool:
        """Whether it will hold `request` when its tasks have ended, though its actors and bundles stay."""
        free = {kind: units - self.lasting.get(kind, 0) for kind, units in self.total.items()}
        return not self.draining and request.fits(free)

    def unused(self) -> dict[str, int]:
        """Units by kind that nobody uses, for people: never below zero.

        The books are, of CPUs, while workers that waited in `get` and run again outnumber them.
        """
        return {kind: max(0, units) for kind, units in self.available.items()}


class Transit:
    """A decision on its way to its node. `leases`: it is about so many leases for tasks that are not granted yet."""

    __slots__ = ("expires", "leases", "node_id", "open", "resources")

    def __init__(self, node_id: str, resources: ResourceSet, expires: float, leases: int = 0) -> None:
        self.node_id = node_id
        self.resources = resources
        self.expires = expires
        self.leases = leases
        self.open = True


class GroupStanding(NamedTuple):
    """How a placement group stands: why it is not reserved, "" where it is; and whether that needs other nodes."""

    problem: str = ""
    infeasible: bool = False


class ClusterView:
    """All nodes, indexed by the shapes of requests. Not thread-safe.

    Args:
        random: draws samples; seeded by whoever wants to repeat a run.
        transit_time: seconds after which a decision counts as seen in its node's reports.

    Attributes:
        groups: placement groups that were asked for and not removed; kept by `PlacementGroups`.
        stock: what the nodes have in all, for people.
        transit_time: what it is for the decisions to come.
    """

    def __init__(self, random: Random, transit_time: float = 0.25) -> None:
        self.nodes: dict[str, Node] = {}
        self.bundles: dict[bytes, dict[int, tuple[str, BundleReport]]] = {}
        self.groups: dict[bytes, GroupStanding] = {}
        self.stock = Stock(self.nodes)
        self._random = random
        self.transit_time = transit_time
        self._transits: deque[Transit] = deque()
        self._shapes: dict[tuple[ResourceSet, LabelSelector], ShapeIndex] = {}
        self._node_bundles: dict[str, dict[tuple[bytes, int], None]] = {}

    def update(self, report: NodeReport) -> bool:
        """Take in a report; false for one that is late or doubled."""
        node = self.nodes.get(report.node_id)
        if node is None:
            node = self.nodes[report.node_id] = Node(report.node_id)
        elif report.version <= node.version:
            return False
        self.stock.changed()
        static = node.total, node.labels, node.draining
        node.learn(report)
        changed = static != (node.total, node.labels, node.draining)
        for index in self._shapes.values():
            if changed:
                index.reconsider(node)
            index.freed(node)
        self._learn_bundles(report)
        return True

    def leave(self, node_id: str) -> None:
        """The node is to be drained: nothing is to be sent there, also before it reports that it drains."""
        node = self.nodes.get(node_id)
        if node is not None:
            node.leaving = node.draining = True
            for index in self._shapes.values():
                index.discard(node)

    def remove(self, node_id: str) -> None:
        """The node is gone."""
        node = self.nodes.pop(node_id, None)
        if node is not None:
            self.stock.changed()
            for index in self._shapes.values():
                index.discard(node)
            for group_id, number in self._node_bundles.pop(node_id, {}):
                self._drop_bundle(group_id, number)

    def shape(self, request: ResourceSet, selector: LabelSelector) -> ShapeIndex:
        """The nodes that can ever hold `request` and meet `selector`. The first call for a shape looks at all nodes."""
        key = (request, selector)
        index = self._shapes.pop(key, None)
        if index is None:
            index = ShapeIndex(request, selector, self._random)
            for node in self.nodes.values():
                index.reconsider(node)
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.pop(next(iter(self._shapes)))
        self._shapes[key] = index
        return index

    def reserve(
        self, node_id: str, resources: ResourceSet, now: float, *, until_told: bool = False, leases: int = 0
    ) -> Transit:
        """Count `resources` as taken on the node until `settle`, or (unless `until_told`) for the transit time.

        `leases`: it is for so many leases for tasks, which end it, too, once the node has reported that it gave them.
        """
        transit = Transit(node_id, resources, float("inf") if until_told else now + self.transit_time, leases)
        if node := self.nodes.get(node_id):
            if leases:
                node.sent.append(transit)
            for kind, units in resources.amounts:
                node.transit[kind] = node.transit.get(kind, 0) + units
            node.count_again()
            self.stock.changed()
        if not until_told:
            self._transits.append(transit)
        return transit

    def reserve_in_bundle(self, group_id: bytes, node_id: str, resources: ResourceSet) -> None:
        """Count `resources` as taken from the first bundle on the node that has them, until its next report."""
        for holder, bundle in self.bundles.get(group_id, {}).values():
            if holder == node_id and resources.fits(bundle.available):
                for kind, units in resources.amounts:
                    bundle.available[kind] -= units
                return

    def settle(self, transit: Transit) -> None:
        """The decision was carried out, or came to nothing: reports are right again. Idempotent."""
        node = self.nodes.get(transit.node_id)
        if transit.open and node is not None:
            node.end(transit)
            node.count_again()
            self.stock.changed()
            for index in self._shapes.values():
                index.freed(node)
        transit.open = False

    def expire(self, now: float) -> list[str]:
        """Settle what has been in transit long enough; returns the nodes concerned."""
        touched: dict[str, None] = {}
        while self._transits and self._transits[0].expires <= now:
            transit = self._transits.popleft()
            self.settle(transit)
            touched[transit.node_id] = None
        return list(touched)

    def next_expiry(self) -> float | None:
        """When `expire` next has something to do."""
        return self._transits[0].expires if self._transits else None

    def groups_on(self, node_id: str) -> dict[bytes, None]:
        """The placement groups that have open bundles on the node."""
        return {group_id: None for group_id, _ in self._node_bundles.get(node_id, ())}

    def _learn_bundles(self, report: NodeReport) -> None:
        before = self._node_bundles.get(report.node_id)
        if not before and not report.bundles:
            return
        now = {(bundle.group_id, bundle.index): None for bundle in report.bundles}
        for group_id, number in before or ():
            if (group_id, number) not in now and self.bundles[group_id][number][0] == report.node_id:
                self._drop_bundle(group_id, number)
        for bundle in report.bundles:
            own = msgspec.structs.replace(bundle, available=dict(bundle.available))
            self.bundles.setdefault(bundle.group_id, {})[bundle.index] = (report.node_id, own)
        self._node_bundles[report.node_id] = now

    def _drop_bundle(self, group_id: bytes, number: int) -> None:
        group = self.bundles.get(group_id, {})
        group.pop(number, None)
        if not group:
            self.bundles.pop(group_id, None)
