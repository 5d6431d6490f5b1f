"""The head's dealings with nodes: which there are, and which are gone."""

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from ...actors.contract import NODE, decoder_of, encode
from ...transport.channel import Channel
from ...transport.error import PeerLostError, TransportError
from ...transport.protocol import Call
from ..cluster_message import HeadLeads, NodeExpired, NodeLeaving, NodeRegistered, PeerNodes, RegisterNode
from ..scheduling.lease_message import NodeReport
from ..scheduling.resources import ResourceSet
from ..scheduling.scheduler import NodeLost
from .head_state import NODES, SESSION, Rows, decode_rows
from .hearing import Hearing
from .silence import LOOK_S, SILENCE_S, Silence

if TYPE_CHECKING:
    from .head import Head

_REMEMBERED = 1000

_RETURN_S = 4.0
"""How much longer than usual nodes may be silent after the head was restarted: they are still looking for it."""

_QUIET_S = 2.5
"""Nodes report every second: one that has not for so long is on its way to be given up."""

_DEAF = "deaf"
"""How many heads in a row have led without hearing a node of another host, and left the cluster to the next."""

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
        self._telling: set[str] = set()
        self._here: set[str] = set()  # those that have registered with this head, and not only with one before it
        self._processes: dict[str, str] = {}
        self._silence = Silence(SILENCE_S, LOOK_S)
        self._hearing = Hearing()
        self._deaf_before = 0
        self._timer = head.loop.call_later(LOOK_S, self._look)
        head.methods |= {"RegisterNode": self._on_register, "NodeLeaving": self._on_leaving}

    def close(self) -> None:
        """Give nobody up any more."""
        self._timer.cancel()

    def restore(self, rows: Rows, leads: HeadLeads, before: str) -> None:
        """Know the nodes that a head before this one knew, tell them so, and wait a while for them to come back.

        `before` is where that head listened; "" where nothing tells that its host has failed.
        """
        deaf = rows.get(SESSION, {}).get(_DEAF)
        self._deaf_before = msgspec.msgpack.decode(deaf, type=int) if deaf else 0
        for node_id, node in decode_rows(rows, NODES, RegisterNode).items():
            self.alive[node_id] = node
            self._processes[node.address.process_id] = node_id
            self._silence.awaited(node_id, _RETURN_S)
            if self._is_afar(node):
                self._hearing.awaited(node_id, telling=not before or _host(node.address.tcp) != _host(before))
            total = ResourceSet.of_units(node.resources)
            self._head.feed(NodeReport(node_id, 0, total, {}, {}, node.labels))
            self._head.process.notify(node.address, NODE, leads)

    def at(self, process_id: str) -> str:
        """The node whose node process that is; "" where it is none's."""
        return self._processes.get(process_id, "")

    def heard(self, node_id: str, channel: Channel) -> bool:
        """A node has said something; False where it is none of the cluster's (any more), which it is told."""
        if node_id not in self.alive:
            if node_id not in self._telling:
                self._telling.add(node_id)
                # Only when it is certain that no other head leads, to whom the node may belong.
                self._head.process.after(lambda: self._tell_expired(node_id, channel))
            return False
        self._silence.heard(node_id)
        return True

    def _tell_expired(self, node_id: str, channel: Channel) -> None:
        self._telling.discard(node_id)
        reason = self.dead[node_id][1] if node_id in self.dead else "it has not registered"
        channel.notify(NODE, "NodeExpired", encode(NodeExpired(reason)))

    def reported(self, node_id: str) -> None:
        """The scheduler has a node's report: from the first one on it can be used."""
        waiting = self._registering.pop(node_id, None)
        if waiting is not None:
            channel, call_id = waiting
            answer = encode(NodeRegistered(time.time()))
            self._head.process.after(lambda: channel.reply(call_id, answer))

    def channel_lost(self, channel: Channel, error: TransportError) -> None:
        """A process is out of reach for good; it may have been a node's.

        A node that looks for the head closes its connection to one that stands by; that may lead when it hears of it.
        And one that is cut off while it begins to lead loses what connections it has; see `hearing.py`.
        """
        node_id = self.at(channel.peer.process_id)
        if node_id in self._here or (node_id and isinstance(error, PeerLostError) and error.gone):
            self._drop(node_id, _in_words(error))

    def end(self, node_id: str, reason: str, *, over: bool = False) -> None:
        """Go on without a node, and have it end. `over`: it is not to join again."""
        node = self.alive[node_id]
        self._drop(node_id, reason)
        self._head.process.notify(node.address, NODE, NodeExpired(reason, over))

    def _on_register(self, channel: Channel, call: Call) -> None:
        node: RegisterNode = decoder_of(RegisterNode).decode(call.body)
        node_id = node.node_id.hex()
        if node_id in self.dead or (node.back and node_id not in self.alive):
            self.heard(node_id, channel)  # what it had is written off: it is told so, and can only join as another
            return
        known = node_id in self.alive
        self.alive[node_id] = node
        self._here.add(node_id)
        self._hearing.heard(node_id, afar=self._is_afar(node))
        if self._hearing.hears and self._deaf_before:
            self._deaf_before = 0
            self._head.state.delete(SESSION, _DEAF)
        self._processes[node.address.process_id] = node_id
        self._silence.heard(node_id)
        self._head.state.put(NODES, node_id, node)
        if call.call_id:
            self._registering[node_id] = (channel, call.call_id)
        everybody = {other: each.address for other, each in self.alive.items()}
        self._head.process.notify(node.address, NODE, PeerNodes(everybody, whole=True))
        if not known:
            self._tell_peers(PeerNodes({node_id: node.address}), but=node_id)
        self._head.tell_heads_to(node_id)

    def _on_leaving(self, _: Channel, call: Call) -> None:
        leaving: NodeLeaving = decoder_of(NodeLeaving).decode(call.body)
        if leaving.node_id.hex() in self.alive:
            self._drop(leaving.node_id.hex(), leaving.reason)

    def _drop(self, node_id: str, reason: str) -> None:
        node = self.alive.pop(node_id)
        self._processes.pop(node.address.process_id, None)
        self._silence.forget(node_id)
        self._hearing.forget(node_id)
        self._here.discard(node_id)
        self._registering.pop(node_id, None)
        self._head.state.delete(NODES, node_id)
        self.dead[node_id] = (node, reason)
        while len(self.dead) > _REMEMBERED:
            del self.dead[next(iter(self.dead))]
        logger.warning("node %s is lost: %s", node_id[:8], reason)
        self._head.feed(NodeLost(node_id))
        for told in self._head.on_node_lost:
            told(node_id)
        self._tell_peers(PeerNodes({}, [node_id]))

    def _tell_peers(self, news: PeerNodes, but: str = "") -> None:
        for node_id, node in self.alive.items():
            if node_id != but:
                self._head.process.notify(node.address, NODE, news)

    def _is_afar(self, node: RegisterNode) -> bool:
        """Whether what a node says crosses a network."""
        return node.address.host_id != self._head.process.address.host_id

    def _is_cut_off(self) -> bool:
        """Whether it may be this head that nobody reaches any more, rather than all nodes of other hosts that failed.

        One that stands by will know: it leads as soon as this one does not, and then hears the nodes, or misses them.
        """
        others = [node_id for node_id, node in self.alive.items() if self._is_afar(node)]
        quiet = all(self._silence.since(node_id) >= _QUIET_S for node_id in others)
        came = any(node_id in self._here for node_id in others)
        return came and quiet and self._head.has_standby

    def _another_may_hear(self) -> bool:
        """Whether this head has not heard anybody for long enough, and one stands by that has not tried yet."""
        is_patient = self._hearing.deaf_s <= SILENCE_S + _RETURN_S
        return self._hearing.is_deaf and not is_patient and self._deaf_before < len(self._head.standbys())

    def _look(self) -> None:
        """Give up nodes that are silent."""
        self._timer = self._head.loop.call_later(LOOK_S, self._look)
        for node_id in self._hearing.look():
            self._silence.awaited(node_id, _RETURN_S)
        silent = self._silence.look()
        if self._another_may_hear():
            self._head.state.put(SESSION, _DEAF, self._deaf_before + 1)
            self._head.step_down("it leads, no node of another host has come, and another head stands by")
            return
        if silent and self._is_cut_off():
            self._head.step_down("no node of another host has been heard for seconds, and another head stands by")
            return
        for node_id, seconds in silent:
            node = self.alive[node_id]
            if node.address.process_id == self._head.process.address.process_id:
                continue  # it shares this loop
            self.end(node_id, f"it has said nothing for {seconds:.0f} s")


def _host(tcp: str) -> str:
    return tcp.rpartition(":")[0]


def _in_words(error: TransportError) -> str:
    """Why a node whose process is out of reach is dropped: in a few words, then, after a colon, what is known."""
    if isinstance(error, PeerLostError):
        return f"{'its process ended without a word' if error.gone else 'its connection was lost'}: {error}"
    return f"its process closed the connection: {error}"
