"""A node manager's way to the head: it registers, reports, and brings the head's orders to the lease machine."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ...actors.contract import HEAD, RegisterDriver, decoder_of
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import DeadlineExceededError, TransportError
from ...transport.protocol import Call, Reply
from ..cluster_message import DriverLeft, FromNode, NodeExpired, NodeOrder, PeerNodes, RegisterNode, ToHead
from ..scheduling import lease_message as m
from ..system_process import SystemProcess

if TYPE_CHECKING:
    from .manager import NodeManager

_JOIN_S = 20.0
_REMEMBERED = 1000
"""Nodes that are gone and whose addresses are kept."""

logger = logging.getLogger(__name__)


class HeadLink:
    """Lives with the node manager; both know each other."""

    def __init__(self, process: SystemProcess, head: ProcessAddress, node_id: bytes) -> None:
        self._process = process
        self._head = head
        self._node_id = node_id
        self._peers: dict[str, ProcessAddress] = {}
        self._gone: dict[str, ProcessAddress] = {}
        self._manager: NodeManager | None = None
        self._end: Callable[[str], None] | None = None

    def attach(self, manager: "NodeManager", end: Callable[[str], None]) -> None:
        """Say who follows the head's orders, and what to do (with the reason) when the cluster leaves the node."""
        self._manager = manager
        self._end = end
        manager.methods |= {
            "NodeOrder": self._on_order,
            "PeerNodes": self._on_peers,
            "NodeExpired": lambda _, call: self._ended(decoder_of(NodeExpired).decode(call.body).reason),
        }

    async def join(self, registration: RegisterNode, begin: Callable[[], None]) -> None:
        """Register with the head and `begin` to report; returns when the node can be used.

        Raises:
            TransportError: the head cannot be reached, or does not answer.
        """
        loop = asyncio.get_running_loop()
        known: asyncio.Future[None] = loop.create_future()

        def answered(reply: Reply | TransportError) -> None:
            if known.done():
                return
            if isinstance(reply, TransportError):
                known.set_exception(reply)
            else:
                known.set_result(None)

        if self._head.process_id != self._process.address.process_id:
            await self._process.endpoint.connect(self._head)
        self._process.ask(self._head, HEAD, registration, answered)
        if self._manager is not None:
            self._manager.feed(m.HeadConnected())
        begin()
        try:
            async with asyncio.timeout(_JOIN_S):
                await known
        except TimeoutError:
            raise DeadlineExceededError(f"The head has not answered within {_JOIN_S:g} s.") from None

    def process_lost(self, process_id: str, reason: str) -> None:
        """A process is out of reach for good. Without the head a node is of no use."""
        if process_id == self._head.process_id and process_id != self._process.address.process_id:
            self._ended(f"the head is out of reach: {reason}")

    def _ended(self, reason: str) -> None:
        if self._end is not None:
            self._end(reason)

    def send(self, command: ToHead) -> None:
        """Pass on what the lease machine has to say to the head."""
        self._process.notify(self._head, HEAD, FromNode(self._node_id, command))

    def address_of(self, node_id: str) -> ProcessAddress | None:
        """Another node's manager; None when there is no such node (any more)."""
        return self._peers.get(node_id)

    def last_address_of(self, node_id: str) -> ProcessAddress | None:
        """Another node's manager, also of one that is gone: whoever is sent there finds out, and counts it as done."""
        return self._peers.get(node_id) or self._gone.get(node_id)

    def peers(self) -> list[ProcessAddress]:
        """The managers of all other nodes."""
        here = self._process.address.process_id
        return [address for address in self._peers.values() if address.process_id != here]

    def driver_registered(self, driver: RegisterDriver) -> None:
        """Tell the head of a new driver."""
        self._process.notify(self._head, HEAD, driver)

    def driver_left(self, job_id: bytes, process_id: str) -> None:
        """Tell the head that a driver of this node is gone."""
        self._process.notify(self._head, HEAD, DriverLeft(job_id, process_id))

    def _on_order(self, _: Channel, call: Call) -> None:
        order: NodeOrder = _order_decoder.decode(call.body)
        if self._manager is None:
            return
        if isinstance(order.event, m.JobEnded):
            self._manager.jobs.ended(order.event.job_id)
            self._manager.actors.job_ended(order.event.job_id)
        self._manager.feed(order.event)

    def _on_peers(self, _: Channel, call: Call) -> None:
        peers: PeerNodes = _peers_decoder.decode(call.body)
        left = [node_id for node_id in self._peers if node_id not in peers.nodes] if peers.whole else peers.gone
        for node_id in left:
            if address := self._peers.pop(node_id, None):
                self._gone[node_id] = address
        while len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        self._peers |= peers.nodes


_order_decoder = msgspec.msgpack.Decoder(NodeOrder)
_peers_decoder = msgspec.msgpack.Decoder(PeerNodes)
