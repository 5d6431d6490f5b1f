"""The other nodes of the cluster, as the head tells."""

import msgspec

from ...actors.contract import CORE, NodesGone
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..cluster_message import PeerNodes
from ..system_process import SystemProcess

_REMEMBERED = 1000
"""Nodes that are gone and whose addresses are kept."""


class PeerTable:
    """Lives in the node process; what a node that is gone has left here is given up at once."""

    def __init__(self, process: SystemProcess) -> None:
        self._process = process
        self._peers: dict[str, ProcessAddress] = {}
        self._gone: dict[str, ProcessAddress] = {}

    def address_of(self, node_id: str) -> ProcessAddress | None:
        """Another node's manager; None when there is no such node (any more)."""
        return self._peers.get(node_id)

    def last_address_of(self, node_id: str) -> ProcessAddress | None:
        """Another node's manager, also of one that is gone: whoever is sent there finds out, and counts it as done."""
        return self._peers.get(node_id) or self._gone.get(node_id)

    def all(self) -> list[ProcessAddress]:
        """The managers of all other nodes."""
        here = self._process.address.process_id
        return [address for address in self._peers.values() if address.process_id != here]

    def told(self, call: Call) -> list[str]:
        """The head says which nodes there are, or came and went (`PeerNodes`).

        Returns:
            The ids of the processes of those that are gone.
        """
        peers: PeerNodes = _decoder.decode(call.body)
        left = [node_id for node_id in self._peers if node_id not in peers.nodes] if peers.whole else peers.gone
        lost: list[str] = []
        for node_id in left:
            if address := self._peers.pop(node_id, None):
                self._gone[node_id] = address
                self._give_up(node_id, address)
                lost.append(address.process_id)
        while len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        self._peers |= peers.nodes
        return lost

    def _give_up(self, node_id: str, address: ProcessAddress) -> None:
        """A node is gone: whoever waits for something of its processes here need not find that out by their silence."""
        channels: list[Channel] = list(self._process.endpoint.channels.values())
        for channel in channels:
            if channel.peer_info.get("kind") in {"worker", "driver"}:
                self._process.notify(channel.peer, CORE, NodesGone([node_id]))
            elif channel.peer.process_id == address.process_id:
                self._process.endpoint.give_up(channel, "The cluster has given up its node.")


_decoder = msgspec.msgpack.Decoder(PeerNodes)
