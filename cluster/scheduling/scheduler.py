"""The head's scheduler: finds nodes for demand that a node cannot meet itself.

Nodes report what they have and which of their callers' demands are unmet (`NodeReport`); it answers with `Place`.
One scheduler decides for all, so two nodes are never sent to the same free CPU; nodes go on serving what they can
themselves, also while the head is away. All state comes from reports: a restarted head knows everything again after one
report of each node.
"""

from collections import OrderedDict
from itertools import chain

import msgspec

from .cluster_view import ClusterView, Node
from .explanation import WARN_AFTER, why_waiting
from .labels import LabelSelector
from .lease_config import LeaseConfig
from .lease_message import NodeReport, PeersChanged, Place, ReportPace, UnmetDemand, Unplaceable
from .policy import Chosen, Never, Policy
from .report_budget import ReportBudget
from .resources import ResourceSet
from .strategy import InBundle, LeaseSpec, NodeAffinity, Spread, serves_anywhere
from .tally import Tally
from .waiting_room import Need, WaitingRoom, need_of

RESEND_AFTER = 0.5
"""Seconds after which a placement that its node does not know of is told again."""

_LOOK = 1.0
"""Seconds between looks for those who wait long."""


class NodeLost(msgspec.Struct, frozen=True, tag="node_lost"):
    """The node is gone for good."""

    node_id: str


class NodeLeaving(msgspec.Struct, frozen=True, tag="node_leaving"):
    """The node is to be drained: place nothing there any more."""

    node_id: str


class SchedulerTick(msgspec.Struct, frozen=True, tag="scheduler_tick"):
    """Time has passed; due at `Scheduler.wake_at()`."""


class GroupGone(msgspec.Struct, frozen=True, tag="group_gone"):
    """A placement group was removed: what waits for its bundles waits in vain."""

    group_id: bytes


class ToNode(msgspec.Struct, frozen=True, tag="to_node"):
    """Deliver this to the node's lease machine."""

    node_id: str
    event: Place | Unplaceable | PeersChanged | ReportPace


SchedulerEvent = NodeReport | NodeLost | NodeLeaving | GroupGone | SchedulerTick


AskKey = tuple[str, int]
"""The node that asks, and its `ask_id`."""

_NOTHING, _PROBLEM, _END = range(3)
"""What the caller behind an ask has been told: why it waits, once; that it waits in vain."""


class Ask:
    """One node's unmet demand, and where the scheduler has sent it so far."""

    __slots__ = ("began", "home", "key", "placed", "sent_at", "since", "told", "unmet")

    def __init__(self, home: str, unmet: UnmetDemand, now: float) -> None:
        self.home = home
        self.unmet = unmet
        self.began = self.since = self.sent_at = now
        self.placed = Tally()
        self.told = _NOTHING
        self.key: AskKey = (home, unmet.ask_id)

    @property
    def spec(self) -> LeaseSpec:
        """What each of its workers must be."""
        return self.unmet.spec

    @property
    def need(self) -> int:
        """How many are still to be placed; placements on their way are taken off."""
        return self.unmet.count - (self.placed.sum - self.unmet.seen)


class Scheduler:
    """The state machine. Single-threaded; shares its view with the actor directory and the placement groups.

    Args:
        view: where reports go and decisions are read from.
        threshold: see `Policy`.
        park_after: seconds after which an ask that no node has room for is queued at a node that could hold it, where
            fairness brings it to its turn.
        settle_until: before this time nothing is called hopeless, since nodes may not have reported yet.
        reports: how many there may be.
    """

    def __init__(
        self,
        view: ClusterView,
        threshold: float = 0.5,
        park_after: float = 1.0,
        settle_until: float = 0.0,
        reports: ReportBudget | None = None,
    ) -> None:
        self.view = view
        self.policy = Policy(view, threshold)
        self._threshold = threshold
        self._park_after = park_after
        self._settle_until = settle_until
        self._reports = reports or ReportBudget()
        self._carried_out = view.transit_time
        self._asks: dict[str, dict[int, Ask]] = {}
        self._waiting = WaitingRoom[AskKey, Ask]()
        self._hopeless = WaitingRoom[AskKey, Ask]()
        self._parked_at = self._looked_at = 0.0
        self._out: list[ToNode] = []

    def handle(self, event: SchedulerEvent, now: float) -> list[ToNode]:
        """Take in one event; returns what to tell the nodes."""
        self._out = []
        for node_id in self.view.expire(now):
            if node := self.view.nodes.get(node_id):
                self._place_waiting(node, now)
        match event:
            case NodeReport():
                self._reported(event, now)
            case NodeLost():
                self._node_lost(event.node_id)
            case NodeLeaving():
                self.view.leave(event.node_id)
            case GroupGone():
                self._group_gone(event.group_id, now)
            case SchedulerTick():
                self._tick(now)
        if now >= self._looked_at + _LOOK:
            self._looked_at = now
            self._warn(now)
        return self._out

    def wake_at(self) -> float | None:
        """When a tick is next due; None while nothing waits."""
        times = [self.view.next_expiry()]
        if len(self._waiting):
            times.append(self._parked_at + self._park_after / 2)
        if len(self._hopeless):
            times.append(max(self._settle_until, self._parked_at + self._park_after))
        return min((time for time in times if time is not None), default=None)

    def pending(self) -> dict[tuple[ResourceSet, LabelSelector], int]:
        """How much waits that a new node could serve, by what it needs: what an autoscaler goes by."""
        load: dict[tuple[ResourceSet, LabelSelector], int] = {}
        for ask in chain.from_iterable(asks.values() for asks in self._asks.values()):
            if not serves_anywhere(ask.spec):
                continue
            key = (ask.spec.resources, ask.spec.required_labels())
            load[key] = load.get(key, 0) + max(0, ask.need)
        return {key: count for key, count in load.items() if count}

    def _reported(self, report: NodeReport, now: float) -> None:
        self._pace(report, now)
        before = self.view.nodes.get(report.node_id)
        could = before and (before.total, before.labels, before.draining)
        if not self.view.update(report):
            return
        node = self.view.nodes[report.node_id]
        if before is None:
            self._tell_peers(report.node_id)
        self._sync_asks(report, now)
        if could != (node.total, node.labels, node.draining):
            self._retry_hopeless(self._hopeless.queues(), now)
        for group_id in self.view.groups_on(report.node_id) if len(self._hopeless) else ():
            self._retry_hopeless(self._hopeless.in_group(group_id), now)
        self._place_waiting(node, now)

    def _pace(self, report: NodeReport, now: float) -> None:
        """Have the node report as often as the head can bear. Decisions take as much longer to be seen in reports."""
        before = self._reports.factor
        if self._reports.heard(report.node_id, report.pace, now):
            self._out.append(ToNode(report.node_id, ReportPace(self._reports.factor)))
        if self._reports.factor != before:
            config = LeaseConfig()
            longer = min(config.refresh_interval, self._reports.factor * config.report_interval)
            self.view.transit_time = self._carried_out + longer - config.report_interval

    def _tell_peers(self, joined: str) -> None:
        """Nodes only ask whether they are alone, so only the second node to come is news to another."""
        others = len(self.view.nodes) - 1
        if others == 1:
            self._out += [ToNode(node_id, PeersChanged(1)) for node_id in self.view.nodes if node_id != joined]
        if others:
            self._out.append(ToNode(joined, PeersChanged(others)))

    def _sync_asks(self, report: NodeReport, now: float) -> None:
        known = self._asks.get(report.node_id, {})
        current: dict[int, Ask] = {}
        for unmet in report.unmet:
            ask = known.pop(unmet.ask_id, None)
            if ask is None:
                ask = Ask(report.node_id, unmet, now)
            else:
                ask.unmet = unmet
                if ask.placed.sum > unmet.seen and now > ask.sent_at + RESEND_AFTER:
                    for node_id in ask.placed.by_node:
                        self._send(ask, node_id, now)
            current[unmet.ask_id] = ask
        for ask in known.values():
            self._unwait(ask)
        self._asks[report.node_id] = current
        for ask in current.values():
            if ask.key not in self._hopeless:
                self._place(ask, now)

    def _place(self, ask: Ask, now: float) -> None:
        """Place as much of an ask as there is room for; the rest waits."""
        changed: dict[str, None] = {}
        while ask.need > 0:
            verdict = self.policy.decide(ask.spec, ask.home, ask.unmet.locality)
            if isinstance(verdict, Never):
                self._give_up(ask, verdict, now)
                break
            if not isinstance(verdict, Chosen) or (verdict.queue and verdict.node_id == ask.home):
                break
            count = ask.need if verdict.queue else self._how_many(ask, self.view.nodes[verdict.node_id])
            ask.placed.add(verdict.node_id, count)
            changed[verdict.node_id] = None
            self._take(ask.spec, verdict.node_id, 0 if verdict.queue else count, now)
        for node_id in sorted(changed, key=lambda node_id: node_id == ask.home):
            self._send(ask, node_id, now)  # its own last: so the caller has heard of the others when leases come
        self._wait_or_not(ask)

    def _send(self, ask: Ask, node_id: str, now: float) -> None:
        ask.sent_at = now
        self._out.append(ToNode(ask.home, Place(ask.unmet.ask_id, node_id, ask.placed.by_node[node_id])))

    def _how_many(self, ask: Ask, node: Node) -> int:
        """How many to send at once to a node chosen for one: up to the threshold where nodes are packed, else one."""
        strategy = ask.spec.strategy
        if (
            isinstance(strategy, (Spread, InBundle))
            or not ask.spec.resources.amounts
            or ask.spec.resources.has_accelerator()
        ):
            return 1
        most = ask.need
        for kind, units in ask.spec.resources.amounts:
            floor = 0 if isinstance(strategy, NodeAffinity) else (1.0 - self._threshold) * node.total[kind]
            most = min(most, int((node.available[kind] - floor) // units))
        return max(1, most)

    def _take(self, spec: LeaseSpec, node_id: str, count: int, now: float) -> None:
        if not count:
            return
        if isinstance(spec.strategy, InBundle):
            self.view.reserve_in_bundle(spec.strategy.group_id, node_id, spec.resources)
            return
        taken = ResourceSet(tuple((kind, units * count) for kind, units in spec.resources.amounts))
        self.view.reserve(node_id, taken, now, leases=count)

    def _give_up(self, ask: Ask, verdict: Never, now: float) -> None:
        self._hopeless.add(ask.key, need_of(ask.spec), ask)
        if now >= self._settle_until:
            self._tell(ask, verdict)

    def _tell(self, ask: Ask, verdict: Never) -> None:
        """Have the caller know why its demand is not met, unless it does."""
        news = _END if verdict.fatal else _PROBLEM
        if news > ask.told:
            ask.told = news
            self._out.append(ToNode(ask.home, Unplaceable(ask.unmet.ask_id, verdict.text, verdict.fatal, verdict.kind)))

    def _warn(self, now: float) -> None:
        """Tell those who wait long, and not just for tasks to end: that is what tasks do."""
        in_reach: dict[Need, bool] = {}
        for ask in chain.from_iterable(asks.values() for asks in self._asks.values()):
            if ask.told != _NOTHING or now < ask.began + WARN_AFTER:
                continue
            need = need_of(ask.spec)
            if need not in in_reach:
                in_reach[need] = self.policy.in_reach(ask.spec)
            if not in_reach[need]:
                self._tell(ask, Never(lambda ask=ask: why_waiting(self.view, ask.spec, now - ask.began)))

    def _wait_or_not(self, ask: Ask) -> None:
        if ask.need > 0 and ask.key not in self._hopeless:
            self._waiting.add(ask.key, need_of(ask.spec), ask)
        else:
            self._waiting.remove(ask.key)

    def _unwait(self, ask: Ask) -> None:
        self._hopeless.remove(ask.key)
        self._waiting.remove(ask.key)

    def _place_waiting(self, node: Node, now: float) -> None:
        """The node may have room: give it to those that wait, by turns."""
        if not len(self._waiting):
            return
        for need, queue in self._waiting.served_by(node.node_id, self.view.groups_on(node.node_id)):
            while queue and (isinstance(need[2], InBundle) or node.fits(need[0])):
                key, ask = next(iter(queue.items()))
                before = ask.need
                self._place(ask, now)
                if ask.need == before:
                    break
                self._waiting.rotate(key)  # its turn is over, where it still waits

    def _retry_hopeless(self, queues: list[tuple[Need, OrderedDict[AskKey, Ask]]], now: float) -> None:
        """Where there is nothing new for the first of a queue, there is nothing for the others."""
        for _, queue in queues:
            for ask in list(queue.values()):
                told = ask.told
                self._hopeless.remove(ask.key)
                self._place(ask, now)
                if ask.key in self._hopeless and ask.told == told:
                    break

    def _node_lost(self, node_id: str) -> None:
        self.view.remove(node_id)
        self._reports.forget(node_id)
        for ask in self._asks.pop(node_id, {}).values():
            self._unwait(ask)
        if len(self.view.nodes) == 1:
            self._out += [ToNode(last, PeersChanged(0)) for last in self.view.nodes]

    def _group_gone(self, group_id: bytes, now: float) -> None:
        for _, queue in self._waiting.in_group(group_id):
            for ask in list(queue.values()):
                self._place(ask, now)
        self._retry_hopeless(self._hopeless.in_group(group_id), now)

    def _tick(self, now: float) -> None:
        if now >= self._parked_at + self._park_after / 2:
            self._parked_at = now
            self._park(now)
            self._retry_hopeless(self._hopeless.queues(), now)

    def _park(self, now: float) -> None:
        """Queue one worker of each ask that waits long at a node that could hold it, unless its own node could."""
        for need, queue in self._waiting.queues():
            if isinstance(need[2], (InBundle, NodeAffinity)):
                continue
            for ask in list(queue.values()):
                index = self.policy.feasible(ask.spec)
                home = self.view.nodes.get(ask.home)
                if now < ask.since + self._park_after or (home is not None and home in index.feasible):
                    continue
                if node := index.any_feasible():
                    ask.since = now
                    ask.placed.add(node.node_id, 1)
                    self._send(ask, node.node_id, now)
                    self._wait_or_not(ask)
