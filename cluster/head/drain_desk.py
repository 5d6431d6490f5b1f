"""The head's dealings with nodes that are to end in good order."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from ...actors.contract import NODE, decoder_of, encode
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..cluster_message import DrainAnswer, DrainNode, DrainOrder, NodeDrained
from ..scheduling.actor_table import DrainActors
from ..scheduling.lease_message import WorkersHeld
from ..scheduling.scheduler import NodeLeaving
from .head_state import DRAINS, Rows, decode_rows

if TYPE_CHECKING:
    from .head import Head

LEAVE_S = 60.0
"""How long a node may take, after its deadline, to copy the last of its objects elsewhere."""

logger = logging.getLogger(__name__)


class _Row(NamedTuple):
    """What is kept of a drain: why, and the Unix time of its deadline."""

    reason: str
    until: float


class _Drain(NamedTuple):
    row: _Row
    timer: asyncio.TimerHandle


class DrainDesk:
    """Part of the head actor; on its loop.

    The node says when it has nothing left, and then ends; one that does not is given up `LEAVE_S` after its deadline.
    """

    def __init__(self, head: "Head") -> None:
        self._head = head
        self._drains: dict[str, _Drain] = {}
        head.methods |= {"DrainNode": self._on_drain, "NodeDrained": self._on_drained}
        head.on_node_lost.append(self._node_lost)
        head.on_node_back.append(self._node_back)

    def restore(self, rows: Rows) -> None:
        """Go on with the drains that a head before this one began. Actors and nodes are known already."""
        for node_id, row in decode_rows(rows, DRAINS, _Row).items():
            if node_id in self._head.nodes:
                self._begin(node_id, row)

    def close(self) -> None:
        """Give nobody up any more."""
        for drain in self._drains.values():
            drain.timer.cancel()

    def reason_of(self, node_id: str) -> str:
        """Why a node is drained; "" where that is not known, or it is not."""
        drain = self._drains.get(node_id)
        return "" if drain is None else drain.row.reason

    def _on_drain(self, channel: Channel, call: Call) -> None:
        refusal = self.drain(decoder_of(DrainNode).decode(call.body))
        channel.reply(call.call_id, encode(DrainAnswer(not refusal, refusal)))

    def drain(self, order: DrainNode) -> str:
        """Have a node end in good order; returns why not, "" where it will."""
        refusal = self._refusal(order)
        if not refusal:
            logger.warning(
                "node %s is drained within %g s: %s", order.node_id.hex()[:8], order.deadline_s, order.reason
            )
            self._begin(order.node_id.hex(), _Row(order.reason, time.time() + order.deadline_s))
        return refusal

    def _refusal(self, order: DrainNode) -> str:
        node_id = order.node_id.hex()
        node = self._head.nodes.get(node_id)
        if node is None:
            was = self._head.node_desk.dead.get(node_id)
            return f"Node {node_id} is gone: {was[1]}." if was else f"There is no node {node_id} in the cluster."
        if node.address.process_id == self._head.process.address.process_id:
            return f"Node {node_id} shares its process with the head: end the cluster with `cluster stop` instead."
        if order.if_idle and not self.is_idle(node_id):
            return f"Node {node_id} is in use."
        return ""

    def is_idle(self, node_id: str) -> bool:
        """Whether it is certain that nobody uses a node or waits for it. Its objects do not count: they are copied."""
        known = self._head.view.nodes.get(node_id)
        if (
            self._head.trouble
            or known is None
            or known.unmet
            or any(known.lasting.values())
            or self._head.view.groups_on(node_id)
        ):
            return False
        busy = self._head.actors.directory.has_actors_at(node_id)
        return not busy and all(known.available.get(kind, 0) >= units for kind, units in known.total.items())

    def _begin(self, node_id: str, row: _Row) -> None:
        before = self._drains.get(node_id)
        if before is not None:
            before.timer.cancel()
        timer = self._head.loop.call_later(_left(row) + LEAVE_S, self._end, node_id)
        self._drains[node_id] = _Drain(row, timer)
        self._head.state.put(DRAINS, node_id, row)
        self._head.feed(NodeLeaving(node_id))
        self._tell(node_id)
        self._head.actors.feed(DrainActors(node_id, f"its node is drained ({row.reason})"))

    def _tell(self, node_id: str) -> None:
        node, row = self._head.nodes[node_id], self._drains[node_id].row
        self._head.process.notify(node.address, NODE, DrainOrder(_left(row)))

    def _node_back(self, node_id: str, _: WorkersHeld) -> None:
        """A node is there again: it may not have heard that it is drained."""
        if node_id in self._drains:
            self._tell(node_id)

    def _on_drained(self, _: Channel, call: Call) -> None:
        self._end(decoder_of(NodeDrained).decode(call.body).node_id.hex())

    def _end(self, node_id: str) -> None:
        if node_id in self._head.nodes:
            reason = self.reason_of(node_id)
            self._head.node_desk.end(node_id, f"it was drained{f' ({reason})' if reason else ''}", over=True)

    def _node_lost(self, node_id: str) -> None:
        drain = self._drains.pop(node_id, None)
        if drain is not None:
            drain.timer.cancel()
            self._head.state.delete(DRAINS, node_id)


def _left(row: _Row) -> float:
    """Seconds until the deadline."""
    return max(0.0, row.until - time.time())
