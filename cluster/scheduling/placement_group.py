"""The head's placement groups: bundles of resources reserved on nodes, all or none.

Reservation is in two phases (prepare on every node, then commit; any no cancels all), one group at a time, so that two
groups never each hold what the other needs. Nodes may take a while to prepare: they ask leases of tasks back for it.
When a node dies, the bundles on it are reserved again elsewhere while the others stay.
"""

import itertools
from typing import NamedTuple, get_args

from .bundle_plan import plan
from .cluster_view import ClusterView, GroupStanding, Transit
from .explanation import WARN_AFTER, why_group_waits
from .group_queue import GroupIndex, GroupQueue, Waiting
from .group_table import (
    CreateGroup,
    GroupChanged,
    GroupCommand,
    GroupCreated,
    GroupEvent,
    GroupFromNode,
    GroupNodeBack,
    GroupNodeLost,
    GroupOverdue,
    GroupOwnerLost,
    GroupRecord,
    GroupSpec,
    GroupState,
    GroupStrategy,
    GroupTable,
    GroupToNode,
    GroupView,
    PlaceGroups,
    RemoveGroup,
    SubscribeGroup,
    view_of,
)
from .lease_message import ReserveCancel, ReserveCommit, ReservePrepare
from .resources import ResourceSet, total_of

PATIENCE = 1.0
"""Seconds that a node may take to make room for bundles."""

QUEUE_AFTER = 1.0
"""Seconds that a group waits for room before nodes are asked to make it."""

PREPARE_TIMEOUT = 10.0
"""Seconds after which an attempt that some node has not answered is given up."""

RETRY, MAX_RETRY = 0.02, 2.0
"""Seconds between tries of a group that waits, at first and at most: a try looks at all nodes."""

MAX_REMOVED = 10_000

_EVERY_ATTEMPT = 2**31 - 1

EXPLAIN_AFTER = 10.0
"""Seconds after which the words for why a group waits are looked for again: that means looking at all nodes."""


def check_group(spec: GroupSpec) -> None:
    """Raise ValueError for what can never be a group."""
    if not spec.bundles:
        raise ValueError("A placement group needs at least one bundle, such as {'CPU': 1}.")
    for index, bundle in enumerate(spec.bundles):
        if not bundle.amounts:
            raise ValueError(
                f"Bundle {index} of the placement group asks for nothing: leave it out, or give an amount."
            )
    if spec.selectors and len(spec.selectors) != len(spec.bundles):
        raise ValueError(
            f"The placement group has {len(spec.bundles)} bundles and {len(spec.selectors)} label selectors: give one "
            "for each bundle, {} where any node will do."
        )
    if spec.strategy not in get_args(GroupStrategy):
        raise ValueError(
            f"{spec.strategy!r} is no placement strategy: use one of {', '.join(get_args(GroupStrategy))}."
        )


class Attempt(NamedTuple):
    """The reservation under way: of which group, since when, and the nodes that have not answered."""

    group_id: bytes
    began: float
    awaited: set[str]


class PlacementGroups:
    """The state machine. Single-threaded; every event may come late or twice."""

    def __init__(self, view: ClusterView) -> None:
        self.table = GroupTable({})
        self._view = view
        self._waiting = GroupQueue(RETRY, MAX_RETRY)
        self._index = GroupIndex()
        self._untold: dict[bytes, float] = {}  # which is not reserved since when, oldest first
        self._attempt: Attempt | None = None
        self._transits: dict[bytes, list[Transit]] = {}
        self._names: dict[tuple[str, str], bytes] = {}
        self._subscribers: dict[bytes, dict[str, None]] = {}
        self._listens_to: dict[str, dict[bytes, None]] = {}
        self._removed: dict[bytes, None] = {}
        self._changed: dict[bytes, None] = {}
        self._out: list[GroupCommand] = []

    def handle(self, event: GroupEvent, now: float) -> list[GroupCommand]:  # noqa: C901 - a case an event, no logic
        """Take in one event; returns what is to be done, in order."""
        self._out = []
        match event:
            case CreateGroup():
                self._create(event.spec, now)
            case RemoveGroup():
                if record := self.table.groups.get(event.group_id):
                    self._remove(record, event.text)
            case GroupFromNode():
                self._answered(event, now)
            case GroupNodeBack():
                self._node_back(event)
            case GroupNodeLost():
                self._node_lost(event.node_id, now)
            case GroupOwnerLost():
                self._owner_lost(event)
            case SubscribeGroup():
                if record := self.table.groups.get(event.group_id):
                    self._subscribers.setdefault(event.group_id, {})[event.process_id] = None
                    self._listens_to.setdefault(event.process_id, {})[event.group_id] = None
                    self._out.append(GroupChanged(event.process_id, view_of(record)))
            case PlaceGroups():
                self._give_up_overdue(now)
        self._start_next(now)
        self._warn(now)
        return self._out

    def take_changed(self) -> list[bytes]:
        """The groups whose rows have changed, or gone, since the last time this was asked."""
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def wake_at(self) -> float | None:
        """When `PlaceGroups` is due, beside whenever nodes report; None while no group waits."""
        return self._attempt.began + PREPARE_TIMEOUT if self._attempt else self._waiting.next_try()  # one at a time

    def restore(self, table: GroupTable, now: float) -> list[GroupCommand]:
        """Go on from a stored table: commits are told again, unfinished attempts given up and begun anew."""
        self.table, self._out = table, []
        for group_id, record in table.groups.items():
            if record.state == "REMOVED":
                self._removed[group_id] = None
                continue
            self._index.add(record)
            self._index.on_nodes(record)
            self._view.groups[group_id] = GroupStanding(record.problem)
            if record.spec.name:
                self._names[record.spec.namespace, record.spec.name] = group_id
            for node_id in dict.fromkeys(record.nodes.values()):
                self._out.append(GroupToNode(node_id, ReserveCommit(group_id, record.attempt)))
            if record.state == "PREPARING":
                self._abandon(record, now, "the head was restarted")
            elif record.state != "CREATED":
                self._waiting.add(group_id, now)
        return self._out

    def view(self, group_id: bytes) -> GroupView | None:
        """A group, also one that was removed and is still remembered."""
        record = self.table.groups.get(group_id)
        return None if record is None else view_of(record)

    def named(self, name: str, namespace: str) -> GroupView | None:
        """The group of that name."""
        group_id = self._names.get((namespace, name))
        return None if group_id is None else view_of(self.table.groups[group_id])

    def incomplete(self) -> list[GroupRecord]:
        """The groups that are not reserved, or not in full; oldest first."""
        return [record for record in self.table.groups.values() if record.state in {"PENDING", "RESCHEDULING"}]

    def views(self) -> list[GroupView]:
        """All groups, those removed that are still remembered among them."""
        return [view_of(record) for record in self.table.groups.values()]

    def _create(self, spec: GroupSpec, now: float) -> None:
        known = self.table.groups.get(spec.group_id)
        if known is not None:
            self._out.append(GroupCreated(spec.owner, spec.group_id, view_of(known)))
            return
        key = (spec.namespace, spec.name)
        if spec.name and key in self._names:
            error = f"The name {spec.name!r} is taken by placement group {self._names[key].hex()}: choose another."
            self._out.append(GroupCreated(spec.owner, spec.group_id, None, error))
            return
        record = self.table.groups[spec.group_id] = GroupRecord(spec)
        self._changed[spec.group_id] = None
        self._index.add(record)
        self._view.groups[spec.group_id] = GroupStanding()
        if spec.name:
            self._names[key] = spec.group_id
        self._waiting.add(spec.group_id, now)
        self._untold[spec.group_id] = now
        self._out.append(GroupCreated(spec.owner, spec.group_id, view_of(record)))

    def _start_next(self, now: float) -> None:
        """Begin the reservation of the first group that has a plan, unless one is under way."""
        while self._attempt is None and (waiting := self._waiting.take_due(now)):
            record = self.table.groups[waiting.group_id]
            missing = {i: bundle for i, bundle in enumerate(record.spec.bundles) if i not in record.nodes}
            patient = now < waiting.since + QUEUE_AFTER
            chosen = self._plan(record, missing)
            if chosen is None and (not patient or not record.problem):
                chosen = self._plan(record, missing, empty=True)
                self._explain(record, waiting, now, feasible=chosen is not None)
                if patient:
                    continue
            if chosen is not None:
                self._prepare(record, chosen, missing, now)

    def _plan(
        self, record: GroupRecord, missing: dict[int, ResourceSet], *, empty: bool = False
    ) -> dict[int, str] | None:
        spec, taken = record.spec, list(record.nodes.values())
        selectors = dict(enumerate(spec.selectors))
        return plan(
            self._view,
            missing,
            spec.strategy,
            taken,
            selectors=selectors,
            target=spec.target,
            topology=spec.topology,
            empty=empty,
        )

    def _explain(self, record: GroupRecord, waiting: Waiting, now: float, *, feasible: bool) -> None:
        spec = record.spec
        before = self._view.groups[spec.group_id]
        if record.problem and before.infeasible != feasible and now < waiting.explained + EXPLAIN_AFTER:
            return
        waiting.explained = now
        problem = why_group_waits(self._view, spec, feasible=feasible)
        self._view.groups[spec.group_id] = GroupStanding(problem, infeasible=not feasible)
        if not feasible and self._untold.pop(spec.group_id, None) is not None:
            self._out.append(GroupOverdue(spec.group_id, problem))
        record.problem = problem
        if not before.problem or before.infeasible == feasible:  # else no more than its figures have changed
            self._tell(record)

    def _warn(self, now: float) -> None:
        """Say what has waited long, and why; once for each time that it waits."""
        due = itertools.takewhile(lambda untold: now >= untold[1] + WARN_AFTER, self._untold.items())
        for group_id in [group_id for group_id, _ in due]:
            del self._untold[group_id]
            text = why_group_waits(self._view, self.table.groups[group_id].spec, feasible=True)
            self._out.append(GroupOverdue(group_id, text))

    def _prepare(
        self, record: GroupRecord, chosen: dict[int, str], missing: dict[int, ResourceSet], now: float
    ) -> None:
        group_id = record.spec.group_id
        self._waiting.remove(group_id)
        self._settle(group_id)
        record.attempt += 1
        record.preparing, record.prepared = chosen, []
        self._index.on_nodes(record)
        by_node: dict[str, dict[int, ResourceSet]] = {}
        for index, node_id in chosen.items():
            by_node.setdefault(node_id, {})[index] = missing[index]
        self._attempt = Attempt(group_id, now, set(by_node))
        for node_id, bundles in by_node.items():
            transit = self._view.reserve(node_id, total_of(bundles.values()), now)
            self._transits.setdefault(group_id, []).append(transit)
            self._out.append(GroupToNode(node_id, ReservePrepare(group_id, record.attempt, bundles, PATIENCE)))
        self._change(record, "PREPARING")

    def _answered(self, event: GroupFromNode, now: float) -> None:
        answer = event.message
        record = self.table.groups.get(answer.group_id)
        if record is None or record.state != "PREPARING" or answer.attempt != record.attempt:
            return  # given up meanwhile, and the node was told so
        if not answer.ok:
            self._abandon(record, now, answer.text)
            return
        awaited = self._attempt.awaited if self._attempt else set[str]()
        self._changed[answer.group_id] = None
        if event.node_id in awaited:
            awaited.remove(event.node_id)
            record.prepared.append(event.node_id)
        if not awaited:
            record.nodes.update(record.preparing)
            for node_id in record.prepared:
                self._out.append(GroupToNode(node_id, ReserveCommit(answer.group_id, record.attempt)))
            record.preparing, record.prepared, record.problem = {}, [], ""
            self._attempt = None
            self._complete_or_wait(record, now)

    def _abandon(self, record: GroupRecord, now: float, text: str) -> None:
        """Give the attempt up; bundles of earlier attempts stay."""
        group_id = record.spec.group_id
        self._settle(group_id)
        for node_id in dict.fromkeys(record.preparing.values()):
            self._out.append(GroupToNode(node_id, ReserveCancel(group_id, record.attempt, first=record.attempt)))
        asked = list(record.preparing.values())
        record.preparing, record.prepared = {}, []
        self._index.off_nodes(record, asked)
        record.problem, record.abandoned = text, record.attempt
        if self._attempt and self._attempt.group_id == group_id:
            self._attempt = None
        self._waiting.add(group_id, now, backed_off=True)  # what the node lacked will be in its next report
        self._change(record, "RESCHEDULING" if record.nodes else "PENDING")

    def _give_up_overdue(self, now: float) -> None:
        if self._attempt and now >= self._attempt.began + PREPARE_TIMEOUT:
            self._abandon(self.table.groups[self._attempt.group_id], now, "a node did not answer in time")

    def _node_lost(self, node_id: str, now: float) -> None:
        for record in self._index.at_node(node_id):
            self._changed[record.spec.group_id] = None
            lost = [index for index, holder in record.nodes.items() if holder == node_id]
            for index in lost:
                del record.nodes[index]
            if node_id in record.preparing.values():
                self._abandon(record, now, f"node {node_id} died")
            elif lost and record.state != "PREPARING":
                record.problem = f"node {node_id} died with bundles {lost}"
                self._complete_or_wait(record, now)
            self._index.off_nodes(record, [node_id])

    def _node_back(self, event: GroupNodeBack) -> None:
        """Say again what the node may not have heard: which bundles are open, and which are to be given back."""
        for group_id in event.held:
            record = self.table.groups.get(group_id)
            if record is None or record.state == "REMOVED":
                self._out.append(GroupToNode(event.node_id, ReserveCancel(group_id, _EVERY_ATTEMPT)))
                continue
            if record.abandoned:
                cancel = ReserveCancel(group_id, record.abandoned, first=record.abandoned)
                self._out.append(GroupToNode(event.node_id, cancel))
            if event.node_id in record.nodes.values():
                complete = record.attempt - (record.state == "PREPARING")
                self._out.append(GroupToNode(event.node_id, ReserveCommit(group_id, complete)))

    def _complete_or_wait(self, record: GroupRecord, now: float) -> None:
        group_id = record.spec.group_id
        if len(record.nodes) == len(record.spec.bundles):
            self._untold.pop(group_id, None)
            self._view.groups[group_id] = GroupStanding()
            self._change(record, "CREATED")
        else:  # bundles were lost with their node
            self._waiting.add(group_id, now)
            self._untold[group_id] = now
            self._change(record, "RESCHEDULING")

    def _owner_lost(self, event: GroupOwnerLost) -> None:
        for group_id in self._listens_to.pop(event.process_id, ()):
            self._subscribers.get(group_id, {}).pop(event.process_id, None)
        for record in self._index.owned_by(event.process_id):
            if not record.spec.detached:
                self._remove(record, event.text)

    def _remove(self, record: GroupRecord, text: str) -> None:
        if record.state == "REMOVED":
            return
        spec = record.spec
        self._view.groups.pop(spec.group_id, None)
        self._settle(spec.group_id)
        held = list(dict.fromkeys([*record.nodes.values(), *record.preparing.values()]))
        self._out += [GroupToNode(node_id, ReserveCancel(spec.group_id, record.attempt)) for node_id in held]
        record.nodes, record.preparing, record.prepared = {}, {}, []
        self._index.off_nodes(record, held)
        self._index.remove(record)
        record.cause, record.problem = text, ""
        self._waiting.remove(spec.group_id)
        self._untold.pop(spec.group_id, None)
        if self._attempt and self._attempt.group_id == spec.group_id:
            self._attempt = None
        if self._names.get((spec.namespace, spec.name)) == spec.group_id:
            del self._names[spec.namespace, spec.name]
        self._change(record, "REMOVED")
        for process_id in self._subscribers.pop(spec.group_id, ()):
            self._listens_to.get(process_id, {}).pop(spec.group_id, None)
        self._removed[spec.group_id] = None
        while len(self._removed) > MAX_REMOVED:
            oldest = next(iter(self._removed))
            del self._removed[oldest], self.table.groups[oldest]
            self._changed[oldest] = None

    def _settle(self, group_id: bytes) -> None:
        """What was counted as taken for a reservation is free again, or in the nodes' reports."""
        for transit in self._transits.pop(group_id, ()):
            self._view.settle(transit)

    def _change(self, record: GroupRecord, state: GroupState) -> None:
        self._changed[record.spec.group_id] = None
        record.state = state
        self._tell(record)

    def _tell(self, record: GroupRecord) -> None:
        view = view_of(record)
        for process_id in self._subscribers.get(record.spec.group_id, {}):
            self._out.append(GroupChanged(process_id, view))
