"""The head's dealings with nodes: which there are, and which are gone."""

import logging
import time
from typing import TYPE_CHECKING

from ...actors.contract import NODE, decoder_of, encode
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call
from ..cluster_message import NodeExpired, NodeLeaving, NodeRegistered, PeerNodes, RegisterNode
from ..scheduling.scheduler import NodeLost

if TYPE_CHECKING:
    from .head import Head

SILENCE_S = 10.0
"""A node that has reported nothing for so long is given up. Nodes report every 2 s even when nothing changes."""

_LOOK_S = 1.0
_REMEMBERED = 1000

logger = logging.getLogger(__name__)


class NodeDesk:
    """Part of the head actor; on its loop.

    Attributes:
        alive: the nodes of the cluster by id in hexadecimal.
        dead: the newest of those that were, and why each is no more.
    """

    def __init__(self, head: "Head") -> None:
        self._head = head
        self.alive: dict[str, RegisterNode] = {}
        self.dead: dict[str, tuple[RegisterNode, str]] = {}
        self._registering: dict[str, tuple[Channel, int]] = {}
        self._heard: dict[str, float] = {}
        self._looked_at = head.loop.time()
        self._timer = head.loop.call_later(_LOOK_S, self._look)
        head.methods |= {"RegisterNode": self._on_register, "NodeLeaving": self._on_leaving}

    def close(self) -> None:
        """Give nobody up any more."""
        self._timer.cancel()

    def at(self, process_id: str) -> str:
        """The node whose node process that is; "" where it is none's."""
        return next((node_id for node_id, node in self.alive.items() if node.address.process_id == process_id), "")

    def heard(self, node_id: str, channel: Channel) -> bool:
        """A node has said something; False where it is none of the cluster's (any more), which it is told."""
        if node_id not in self.alive:
            reason = self.dead[node_id][1] if node_id in self.dead else "it has not registered"
            channel.notify(NODE, "NodeExpired", encode(NodeExpired(reason)))
            return False
        self._heard[node_id] = self._head.loop.time()
        return True

    def reported(self, node_id: str) -> None:
        """The scheduler has a node's report: from the first one on it can be used."""
        waiting = self._registering.pop(node_id, None)
        if waiting is not None:
            channel, call_id = waiting
            channel.reply(call_id, encode(NodeRegistered(time.time())))

    def channel_lost(self, channel: Channel, error: TransportError) -> None:
        """A process is out of reach for good; it may have been a node's."""
        node_id = self.at(channel.peer.process_id)
        if node_id:
            self._drop(node_id, str(error))

    def _on_register(self, channel: Channel, call: Call) -> None:
        node: RegisterNode = decoder_of(RegisterNode).decode(call.body)
        node_id = node.node_id.hex()
        if node.back and node_id not in self.alive:
            self.heard(node_id, channel)  # it is told that it is none of ours
            return
        self.alive[node_id] = node
        self._heard[node_id] = self._head.loop.time()
        if call.call_id:
            self._registering[node_id] = (channel, call.call_id)
        self._tell_peers()

    def _on_leaving(self, _: Channel, call: Call) -> None:
        leaving: NodeLeaving = decoder_of(NodeLeaving).decode(call.body)
        if leaving.node_id.hex() in self.alive:
            self._drop(leaving.node_id.hex(), leaving.reason)

    def _drop(self, node_id: str, reason: str) -> None:
        node = self.alive.pop(node_id)
        self._heard.pop(node_id, None)
        self._registering.pop(node_id, None)
        self.dead[node_id] = (node, reason)
        while len(self.dead) > _REMEMBERED:
            del self.dead[next(iter(self.dead))]
        logger.warning("node %s is lost: %s", node_id[:8], reason)
        self._head.feed(NodeLost(node_id))
        for told in self._head.on_node_lost:
            told(node_id)
        self._tell_peers()

    def _tell_peers(self) -> None:
        peers = PeerNodes({node_id: node.address for node_id, node in self.alive.items()})
        for node in self.alive.values():
            self._head.process.notify(node.address, NODE, peers)

    def _look(self) -> None:
        """Give up nodes that are silent, unless it was the head itself that did not listen."""
        now = self._head.loop.time()
        late = now - self._looked_at - _LOOK_S
        self._looked_at = now
        self._timer = self._head.loop.call_later(_LOOK_S, self._look)
        for node_id, heard in list(self._heard.items()):
            node = self.alive[node_id]
            if node.address.process_id == self._head.process.address.process_id:
                continue
            if late > _LOOK_S:
                self._heard[node_id] = min(now, heard + late)
            elif now - heard > SILENCE_S:
                reason = f"it has said nothing for {now - heard:.0f} s"
                self._drop(node_id, reason)
                self._head.process.notify(node.address, NODE, NodeExpired(reason))
