"""The head's dealings with placement groups: carries the decisions about them to nodes, and answers those who ask."""

import logging
from typing import TYPE_CHECKING, Any

from ...actors.contract import (
    CORE,
    AwaitGroup,
    CreateGroup,
    FindGroup,
    GroupFound,
    GroupPending,
    RemoveGroup,
    decoder_of,
    encode,
)
from ...actors.serialization import serialize_error
from ...exceptions import TaskPlacementGroupRemoved
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..autoscaler.message import PendingGroup
from ..scheduling import group_table as t
from ..scheduling import lease_message as m
from ..scheduling.labels import parse_selector
from ..scheduling.placement_group import PlacementGroups, check_group
from ..scheduling.resources import ResourceSet
from ..scheduling.scheduler import GroupGone
from .head_state import GROUPS, Rows, decode_rows

if TYPE_CHECKING:
    from .head import Head

logger = logging.getLogger(__name__)

_ITSELF = "head"
"""The subscriber to all groups: this desk."""


class GroupDesk:
    """Part of the head actor; on its loop."""

    def __init__(self, head: "Head") -> None:
        self._head = head
        self._groups = PlacementGroups(head.view)
        self._waiting: dict[bytes, list[tuple[Channel, int]]] = {}
        self._refused: dict[bytes, str] = {}
        self._overdue: dict[bytes, str] = {}
        self._alarm = head.alarm(self._groups.wake_at, lambda: self.feed(t.PlaceGroups()))
        head.methods |= {
            "CreateGroup": self._on_create,
            "RemoveGroup": self._on_remove,
            "AwaitGroup": self._on_await,
            "FindGroup": self._on_find,
        }
        head.from_node[m.Reserved] = lambda node_id, answer: self.feed(t.GroupFromNode(node_id, answer))
        head.on_node_back.append(lambda node_id, held: self.feed(t.GroupNodeBack(node_id, held.group_ids)))
        head.on_report.append(self._place_waiting)
        head.on_node_lost.append(lambda node_id: self.feed(t.GroupNodeLost(node_id)))
        head.on_process_lost.append(self._process_lost)

    def feed(self, event: t.GroupEvent) -> None:
        """Give the state machine an event and do what it says."""
        commands = self._groups.handle(event, self._head.loop.time())
        self._keep_changes()
        for command in commands:
            self._execute(command)
        self._alarm.set()

    def _keep_changes(self) -> None:
        changed = self._groups.take_changed()
        state = self._head.state
        if not state.keeps:
            return
        for group_id in changed:
            record = self._groups.table.groups.get(group_id)
            if record is None:
                state.delete(GROUPS, group_id.hex())
            else:
                state.put(GROUPS, group_id.hex(), record)

    def restore(self, rows: Rows) -> None:
        """Go on with the groups that a head before this one had."""
        found = decode_rows(rows, GROUPS, t.GroupRecord)
        table = t.GroupTable({record.spec.group_id: record for record in found.values()})
        for command in self._groups.restore(table, self._head.loop.time()):
            self._execute(command)
        for record in found.values():
            if record.state != "REMOVED":
                self._head.lives_at(record.spec.home, record.spec.owner)
                self.feed(t.SubscribeGroup(_ITSELF, record.spec.group_id))
        self._alarm.set()

    def rows(self) -> list[dict[str, Any]]:
        """All groups, as `Runtime.state("placement_groups")` shows them."""
        return [
            {
                "placement_group_id": view.group_id.hex(),
                "name": view.name,
                "bundles": dict(enumerate(bundle.floats() for bundle in view.bundles)),
                "bundles_to_node_id": dict(enumerate(view.nodes)),
                "strategy": view.strategy,
                "state": "PENDING" if view.state == "PREPARING" else view.state,
                "stats": {"problem": view.problem or view.cause},
            }
            for view in self._groups.views()
        ]

    def pending(self) -> list[PendingGroup]:
        """The groups that wait for room, as an autoscaler knows them."""
        found: list[PendingGroup] = []
        for record in self._groups.incomplete():
            spec = record.spec
            missing = [index for index in range(len(spec.bundles)) if index not in record.nodes]
            found.append(
                PendingGroup(
                    spec.name or spec.group_id.hex()[:8],
                    tuple(spec.bundles[index] for index in missing),
                    spec.strategy,
                    tuple(record.nodes.values()),
                    tuple(spec.selectors[index] for index in missing) if spec.selectors else (),
                    spec.topology,
                )
            )
        return found

    def _place_waiting(self, _: str) -> None:
        if self._groups.wake_at() is not None:
            self.feed(t.PlaceGroups())

    def _execute(self, command: t.GroupCommand) -> None:
        match command:
            case t.GroupToNode():
                self._head.order(command)
            case t.GroupCreated():
                if command.error:
                    self._refused[command.group_id] = command.error
            case t.GroupChanged():
                self._changed(command.view)
            case t.GroupOverdue():
                self._overdue[command.group_id] = command.text
                for process in {who[0] for who in self._waiting.get(command.group_id, ())}:
                    self._warn(process, command.group_id)

    def _changed(self, view: t.GroupView) -> None:
        if view.state == "CREATED":
            for channel, call_id in self._waiting.pop(view.group_id, ()):
                channel.reply(call_id, b"")
        elif view.state == "REMOVED":
            for channel, call_id in self._waiting.pop(view.group_id, ()):
                channel.reply(call_id, _removed(view.group_id, view.cause))
            self._head.feed(GroupGone(view.group_id))
        elif view.problem:
            logger.info("placement group %s is pending: %s", view.group_id.hex(), view.problem)
        if view.state in ("CREATED", "REMOVED"):
            self._overdue.pop(view.group_id, None)

    def _warn(self, channel: Channel, group_id: bytes) -> None:
        """Tell a process that waits for a group why it does."""
        view = self._groups.view(group_id)
        name = view.name if view is not None else ""
        channel.notify(CORE, "GroupPending", encode(GroupPending(group_id, name, self._overdue[group_id])))

    def _process_lost(self, process_id: str) -> None:
        for group_id, waiting in list(self._waiting.items()):
            left = [who for who in waiting if who[0].peer.process_id != process_id]
            for channel, call_id in waiting:
                if channel.peer.process_id == process_id:
                    channel.reply(call_id, b"")  # its node's channel keeps the question until then
            if left:
                self._waiting[group_id] = left
            else:
                del self._waiting[group_id]
        self.feed(t.GroupOwnerLost(process_id, "the process that created it is gone"))

    # --- from users' processes ---

    def _on_create(self, channel: Channel, call: Call) -> None:
        request: CreateGroup = decoder_of(CreateGroup).decode(call.body)
        group_id = request.group_id
        owner = request.owner or self._head.driver_of(request.job_id)
        spec = t.GroupSpec(
            group_id,
            tuple(ResourceSet.of_units(bundle) for bundle in request.bundles),
            request.strategy,  # type: ignore[arg-type] - checked next
            owner,
            request.name,
            request.namespace,
            request.detached,
            tuple(parse_selector(selector) for selector in request.selectors),
            request.target,
            self._head.node_of(channel) if owner == channel.peer.process_id else "",
            request.topology,
        )
        try:
            check_group(spec)
        except ValueError as error:
            channel.reply(call.call_id, serialize_error(error))
            return
        self.feed(t.CreateGroup(spec))
        refusal = self._refused.pop(group_id, "")
        if not refusal:
            self.feed(t.SubscribeGroup(_ITSELF, group_id))
        channel.reply(call.call_id, serialize_error(ValueError(refusal)) if refusal else b"")

    def _on_remove(self, channel: Channel, call: Call) -> None:
        request: RemoveGroup = decoder_of(RemoveGroup).decode(call.body)
        self.feed(t.RemoveGroup(request.group_id))
        channel.reply(call.call_id, b"")

    def _on_await(self, channel: Channel, call: Call) -> None:
        group_id: bytes = decoder_of(AwaitGroup).decode(call.body).group_id
        view = self._groups.view(group_id)
        if view is None or view.state == "REMOVED":
            channel.reply(call.call_id, _removed(group_id, view.cause if view else "it is not known (any more)"))
        elif view.state == "CREATED":
            channel.reply(call.call_id, b"")
        else:
            waiting = self._waiting.setdefault(group_id, [])
            if group_id in self._overdue and channel not in (who[0] for who in waiting):
                self._warn(channel, group_id)
            waiting.append((channel, call.call_id))

    def _on_find(self, channel: Channel, call: Call) -> None:
        wanted: FindGroup = decoder_of(FindGroup).decode(call.body)
        view = self._groups.named(wanted.name, wanted.namespace)
        found = GroupFound() if view is None else GroupFound(view.group_id, [bundle.units() for bundle in view.bundles])
        channel.reply(call.call_id, encode(found))


def _removed(group_id: bytes, cause: str) -> bytes:
    return serialize_error(
        TaskPlacementGroupRemoved(f"Placement group {group_id.hex()} cannot be waited for: {cause}.")
    )
