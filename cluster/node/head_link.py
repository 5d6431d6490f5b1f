"""A node's way to the head: it joins, waits for a head that is away, reports, and passes the head's orders on."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ...actors.contract import HEAD, RegisterDriver, decoder_of, encode
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import ConnectError, DeadlineExceededError, TransportError
from ...transport.protocol import Call
from ..cluster_message import (
    DriverLeft,
    FromNode,
    HeadLeads,
    HeadStanding,
    HeadTroubled,
    KnownHeads,
    NodeDrained,
    NodeExpired,
    NodeLeaving,
    NodeOrder,
    RegisterNode,
    ToHead,
)
from ..scheduling import lease_message as m
from ..system_process import SystemProcess
from .head_joining import HeadJoining
from .head_patience import PATIENCE_S, HeadPatience
from .head_relay import HeadRelay
from .head_route import HeadRoute
from .peer_table import PeerTable

if TYPE_CHECKING:
    from .manager import NodeManager

_JOIN_S = 20.0
_BACK_S = 5.0
"""How long a head that is there again may take to count this node in."""
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.05, 1.0
"""Between attempts to reach a head that is away."""
_GREET_S = 1.5
"""How long an address where the head may be is tried: a host that is gone does not refuse, it is silent."""

_ORDERS = (
    "NodeOrder",
    "PeerNodes",
    "NodeExpired",
    "KnownHeads",
    "StartActor",
    "TerminateActor",
    "RequestLightWorker",
    "ReleaseLightWorker",
    "DrainOrder",
    "HeadTroubled",
)
"""What a node does for its head only: one that was paused or cut off, and replaced, may go on for a while."""

logger = logging.getLogger(__name__)


class HeadLink:
    """Lives with the node manager; both know each other.

    Args:
        process: the node process.
        address: the head's; without a process id it means whoever answers there, and a head that goes away is waited
            for.
        node_id: of this node.
        any_python: the head's minor version of Python may be another.
        patience: seconds that the head may leave a question unanswered; see `HeadPatience`.

    Attributes:
        peers: the other nodes.
        relay: passes on what this node's processes say to the head; None where the head is one of them.
    """

    def __init__(
        self,
        process: SystemProcess,
        address: ProcessAddress,
        node_id: bytes,
        *,
        any_python: bool,
        patience: float = PATIENCE_S,
    ) -> None:
        self._process = process
        self._route = HeadRoute(address)
        self._joining = HeadJoining(process, self._route, any_python=any_python)
        self._node_id = node_id
        self._manager: NodeManager | None = None
        self._end: Callable[[str, bool], None] | None = None
        self._moved: Callable[[], None] | None = None
        self._registration: RegisterNode | None = None
        self._away = False
        self._away_since = 0.0
        self._refused = self._trouble = ""
        self._closing = False
        self._news = asyncio.Event()
        self._waiting: asyncio.Task[None] | None = None
        self._is_here = address.process_id == process.address.process_id
        self.peers = PeerTable(process)
        self.relay = None
        if not self._is_here:
            self.relay = HeadRelay(process, HeadPatience(patience), lambda: self.cluster, self._waiting_callers)

    @property
    def cluster(self) -> str:
        """The cluster's address, for people and for `init(address=...)`."""
        return self._route.text

    @property
    def session(self) -> str:
        """The cluster's name for its session, once `greet` has returned; "" where this process hosts the head."""
        return self._joining.session

    @property
    def warnings(self) -> list[str]:
        """What the node's user should know."""
        return self._joining.warnings

    def attach(
        self, manager: "NodeManager", end: Callable[[str, bool], None], moved: Callable[[], None] | None = None
    ) -> None:
        """Say who follows the head's orders.

        Args:
            manager: that.
            end: called when this node has to leave the cluster, with the reason, and whether the cluster is over.
            moved: called when the head may be at another address, `cluster`.
        """
        self._manager = manager
        self._end = end
        self._moved = moved
        manager.methods |= {
            "NodeOrder": self._on_order,
            "PeerNodes": self._on_peers,
            "NodeExpired": self._on_expired,
            "DescribeHead": self._on_describe_head,
            "KnownHeads": self._on_known_heads,
            "HeadTroubled": self._on_head_troubled,
        }
        manager.methods |= {name: self._for_head(manager.methods[name]) for name in _ORDERS}
        manager.methods["HeadLeads"] = self._on_head_leads

    def _for_head(self, obey: Callable[[Channel, Call], None]) -> Callable[[Channel, Call], None]:
        def obeyed(channel: Channel, call: Call) -> None:
            if channel.peer.process_id == self._joining.head.process_id:
                obey(channel, call)
            else:
                logger.warning("process %s is not the head, and orders %s", channel.peer.process_id, call.method)

        return obeyed

    # --- joining ---

    async def greet(self) -> None:
        """Connect to the head, and see that this node can join it. Nothing to do where the head is in this process.

        Raises:
            WrongHeadError: it is no head, or of another version. TransportError: it cannot be reached, or refuses.
        """
        if not self._is_here:
            await self._joining.greet()

    async def find(self) -> None:
        """`greet`, as often as it takes: for a node that the cluster has given up, and that nobody waits for."""
        if not self._is_here:
            await self._joining.find(_FIRST_PAUSE_S, _MOST_PAUSE_S)

    async def join(self, registration: RegisterNode, begin: Callable[[], None]) -> None:
        """Register with the head and `begin` to report; returns when the node can be used.

        Raises:
            TransportError: the head cannot be reached, or does not answer.
        """
        self._registration = registration
        await self._register(registration, begin, _JOIN_S)

    async def _register(self, registration: RegisterNode, begin: Callable[[], None], patience: float) -> None:
        def said() -> None:
            if self.relay is not None:
                self.relay.connected(self._joining.head)
            if self._manager is not None:
                self._manager.feed(m.HeadConnected())
            begin()

        await self._joining.register(registration, said, patience)

    # --- a head that goes away ---

    def process_lost(self, process_id: str, reason: str) -> None:
        """A process is out of reach for good. A head with an address of its own is waited for: it may come back."""
        if process_id != self._joining.head.process_id or self._is_here or self._away or self._closing:
            return
        if not self._route.is_open:
            self._leave(f"the head is out of reach: {reason}", True)
            return
        logger.warning("the head at %s is out of reach, and waited for; what runs goes on: %s", self.cluster, reason)
        self._look_for_head()

    def _on_head_leads(self, channel: Channel, call: Call) -> None:
        """A head has begun to lead: follow it, if it comes after the one that this node follows, which may live on."""
        told: HeadLeads = decoder_of(HeadLeads).decode(call.body)
        joined = self._joining
        if self._is_here or self._closing or told.session != joined.session or told.term <= joined.term:
            return
        logger.warning("the head at %s leads now", channel.peer.tcp)
        joined.follow(channel.peer, told.term)
        self._route.announce(channel.peer.tcp)
        self._look_for_head()

    def _look_for_head(self) -> None:
        if not self._away:
            self._away_since = time.monotonic()
        self._lost_head()
        self._news.set()
        if self._waiting is None:
            self._waiting = self._process.spawn(self._wait_for_head())

    def _lost_head(self) -> None:
        self._away = True
        self._trouble = ""
        if self.relay is not None:
            self.relay.disconnected()

    async def _wait_for_head(self) -> None:
        pause = _FIRST_PAUSE_S
        while self._registration is not None and not self._closing:
            self._news.clear()
            self._route.turn()
            try:
                async with asyncio.timeout(_GREET_S):
                    await self.greet()
                self._away = False
                await self._come_back(self._registration)
            except Exception as error:
                if not isinstance(error, TransportError | TimeoutError):  # a defect must not cut the node off for good
                    logger.exception("asking for the head of %s failed", self.cluster)
                logger.info("the head is still away from %s: %s", self.cluster, error or "no answer")
                self._refused = str(error) if isinstance(error, ConnectError) and error.final else ""
                self._lost_head()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), pause)
                pause = min(2 * pause, _MOST_PAUSE_S)
            if not self._away:
                logger.warning("the head at %s is back", self.cluster)
                if self._moved is not None:
                    self._moved()
                break
        self._waiting = None

    async def _come_back(self, registration: RegisterNode) -> None:
        """Register again with a head that is there; one that says why it answers nothing now counts as there, too."""
        try:
            await self._register(msgspec.structs.replace(registration, back=True), _nothing, _BACK_S)
        except DeadlineExceededError:
            if not self._trouble:
                raise

    def _on_known_heads(self, _: Channel, call: Call) -> None:
        told: KnownHeads = decoder_of(KnownHeads).decode(call.body)
        self._route.learn(told.addresses)

    def _waiting_callers(self) -> list[str]:
        """Whose tasks wait for a worker that this node has not got."""
        return self._manager.waiting_callers() if self._manager is not None else []

    def close(self) -> None:
        """Wait for no head any more."""
        self._closing = True
        if self.relay is not None:
            self.relay.close()

    def leave(self, reason: str) -> None:
        """Tell the head that this node ends; the last word, when nothing runs here any more."""
        if self._registration is not None and not self._is_here and not self._away:
            self._process.notify(self._joining.head, HEAD, NodeLeaving(self._node_id, reason))

    def _on_head_troubled(self, _: Channel, call: Call) -> None:
        told: HeadTroubled = decoder_of(HeadTroubled).decode(call.body)
        self._trouble = told.reason
        if self.relay is not None:
            self.relay.troubled(told.reason)

    def _on_describe_head(self, channel: Channel, call: Call) -> None:
        away = time.monotonic() - self._away_since if self._away else None
        channel.reply(call.call_id, encode(HeadStanding(away, self._refused, self._trouble)))

    def _on_expired(self, _: Channel, call: Call) -> None:
        expired: NodeExpired = decoder_of(NodeExpired).decode(call.body)
        self._leave(expired.reason, expired.over)

    def _leave(self, reason: str, over: bool) -> None:
        if self._end is not None:
            self.close()  # a head that says goodbye next is not dialled anew
            self._end(reason, over)

    # --- what is said ---

    def send(self, command: ToHead) -> None:
        """Pass on what the lease machine has to say to the head.

        While the head is away it is dropped: the machine says all that counts again, when it is told `HeadConnected`.
        """
        if not self._away:
            self._process.notify(self._joining.head, HEAD, FromNode(self._node_id, command))

    def drained(self) -> None:
        """Tell the head that this node may end."""
        self._process.notify(self._process.address, HEAD, NodeDrained(self._node_id))

    def driver_registered(self, driver: RegisterDriver) -> None:
        """Tell the head of a new driver."""
        self._process.notify(self._process.address, HEAD, driver)

    def driver_left(self, job_id: bytes, process_id: str) -> None:
        """Tell the head that a driver of this node is gone."""
        self._process.notify(self._process.address, HEAD, DriverLeft(job_id, process_id))

    # --- what the head orders ---

    def _on_order(self, _: Channel, call: Call) -> None:
        order: NodeOrder = _order_decoder.decode(call.body)
        if self._manager is None:
            return
        if isinstance(order.event, m.JobEnded):
            self._manager.job_ended(order.event.job_id)
        self._manager.feed(order.event)

    def _on_peers(self, _: Channel, call: Call) -> None:
        for process_id in self.peers.told(call):
            if self._manager is not None:
                self._manager.node_gone(process_id)


def _nothing() -> None:
    """The node has begun long ago."""


_order_decoder = msgspec.msgpack.Decoder(NodeOrder)
