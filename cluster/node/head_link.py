"""A node manager's way to the head: it registers, reports, and brings the head's orders to the lease machine."""

import logging
from typing import TYPE_CHECKING

import msgspec

from ...actors.contract import HEAD, RegisterDriver
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..cluster_message import FromNode, NodeOrder, PeerNodes, RegisterNode, ToHead
from ..scheduling import lease_message as m
from ..system_process import SystemProcess

if TYPE_CHECKING:
    from .manager import NodeManager

logger = logging.getLogger(__name__)


class HeadLink:
    """Lives with the node manager; both know each other."""

    def __init__(self, process: SystemProcess, head: ProcessAddress, node_id: bytes) -> None:
        self._process = process
        self._head = head
        self._node_id = node_id
        self._peers: dict[str, ProcessAddress] = {}
        self._manager: NodeManager | None = None

    def attach(self, manager: "NodeManager", registration: RegisterNode) -> None:
        """Say whose orders to follow, and tell the head of the node."""
        self._manager = manager
        manager.methods |= {"NodeOrder": self._on_order, "PeerNodes": self._on_peers}
        self._process.notify(self._head, HEAD, registration)
        manager.feed(m.HeadConnected())

    def send(self, command: ToHead) -> None:
        """Pass on what the lease machine has to say to the head."""
        self._process.notify(self._head, HEAD, FromNode(self._node_id, command))

    def address_of(self, node_id: str) -> ProcessAddress | None:
        """Another node's manager; None when it is not (or no longer) known."""
        return self._peers.get(node_id)

    def driver_registered(self, driver: RegisterDriver) -> None:
        """Tell the head of a new driver."""
        self._process.notify(self._head, HEAD, driver)

    def _on_order(self, _: Channel, call: Call) -> None:
        order: NodeOrder = _order_decoder.decode(call.body)
        if self._manager is not None:
            self._manager.feed(order.event)

    def _on_peers(self, _: Channel, call: Call) -> None:
        peers: PeerNodes = _peers_decoder.decode(call.body)
        self._peers = peers.nodes


_order_decoder = msgspec.msgpack.Decoder(NodeOrder)
_peers_decoder = msgspec.msgpack.Decoder(PeerNodes)
