"""A node manager's way to the head: it registers, reports, and brings the head's orders to the lease machine."""

import asyncio
import contextlib
import logging
import os
import platform
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ...actors.contract import CORE, HEAD, NodesGone, RegisterDriver, decoder_of, encode
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import ConnectError, DeadlineExceededError, TransportError
from ...transport.protocol import Call
from ...transport.version import VERSION
from ..cluster_message import (
    DriverLeft,
    FromNode,
    HeadLeads,
    HeadStanding,
    KnownHeads,
    NodeDrained,
    NodeExpired,
    NodeLeaving,
    NodeOrder,
    NodeRegistered,
    PeerNodes,
    RegisterNode,
    ToHead,
)
from ..scheduling import lease_message as m
from ..system_process import SystemProcess
from .head_relay import HeadRelay

if TYPE_CHECKING:
    from .manager import NodeManager

_FIRST_GREET_S = 5.0
_JOIN_S = 20.0
_BACK_S = 5.0
"""How long a head that is there again may take to count this node in."""
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.05, 1.0
"""Between attempts to reach a head that is away."""
_GREET_S = 1.5
"""How long an address where the head may be is tried: a host that is gone does not refuse, it is silent."""
_CLOCK_S = 60.0
"""Clocks that differ by more make logs and timelines of several nodes hard to read together."""
_REMEMBERED = 1000
"""Nodes that are gone and whose addresses are kept."""

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
)
"""What a node does for its head only: one that was paused or cut off, and replaced, may go on for a while."""

logger = logging.getLogger(__name__)


class WrongHeadError(ConnectError):
    """What answers at the head's address is no head that this node can join; says why, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, final=True)


def about_this_process(kind: str, session: str, *, is_head: bool) -> dict[str, str]:
    """What a system process tells those that connect to it; nodes join only where the head is."""
    return {
        "kind": kind,
        "head": "yes" if is_head else "no",
        "pid": str(os.getpid()),
        "version": VERSION,
        "python": platform.python_version(),
        "session": session,
    }


class HeadLink:
    """Lives with the node manager; both know each other.

    Args:
        process: the node process.
        route: the head's address; without a process id it means whoever answers there, and a head that goes away is
            waited for.
        node_id: of this node.
        any_python: the head's minor version of Python may be another.

    Attributes:
        cluster: the cluster's address, for people and for `init(address=...)`.
        relay: passes on what this node's processes say to the head; None where the head is one of them.
        session: the cluster's name for its session, once `greet` has returned; "" where this process hosts the head.
        warnings: what the node's user should know.
    """

    def __init__(self, process: SystemProcess, route: ProcessAddress, node_id: bytes, *, any_python: bool) -> None:
        self._process = process
        self._route = route
        self._known_heads = [route.tcp]
        self._head = route
        self._node_id = node_id
        self._any_python = any_python
        self._peers: dict[str, ProcessAddress] = {}
        self._gone: dict[str, ProcessAddress] = {}
        self._manager: NodeManager | None = None
        self._end: Callable[[str, bool], None] | None = None
        self._moved: Callable[[], None] | None = None
        self._registration: RegisterNode | None = None
        self._away = False
        self._away_since = 0.0
        self._refused = ""
        self._closing = False
        self._term = 0
        self._announced = ""
        self._news = asyncio.Event()
        self._waiting: asyncio.Task[None] | None = None
        self.cluster = route.tcp or route.unix
        self.relay = None if self._is_here else HeadRelay(process)
        self.session = ""
        self.warnings: list[str] = []

    @property
    def _is_here(self) -> bool:
        return self._route.process_id == self._process.address.process_id

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
        }
        manager.methods |= {name: self._for_head(manager.methods[name]) for name in _ORDERS}
        manager.methods["HeadLeads"] = self._on_head_leads

    def _for_head(self, obey: Callable[[Channel, Call], None]) -> Callable[[Channel, Call], None]:
        def obeyed(channel: Channel, call: Call) -> None:
            if channel.peer.process_id == self._head.process_id:
                obey(channel, call)
            else:
                logger.warning("process %s is not the head, and orders %s", channel.peer.process_id, call.method)

        return obeyed

    async def greet(self) -> None:
        """Connect to the head, and see that this node can join it. Nothing to do where the head is in this process.

        Raises:
            WrongHeadError: it is no head, or of another version. TransportError: it cannot be reached, or refuses.
        """
        if self._is_here:
            return
        try:
            async with asyncio.timeout(_FIRST_GREET_S):
                channel = await self._process.endpoint.connect(self._route)
        except TimeoutError:
            raise ConnectError(f"No answer within {_FIRST_GREET_S:g} s.") from None
        try:
            self._check(channel)
        except WrongHeadError:
            await channel.close()  # so that it is asked anew, should it become the head
            raise
        self._head = channel.peer
        self.session = channel.peer_info.get("session", "")
        self._term = int(channel.peer_info.get("term", "0"))

    async def find(self) -> None:
        """`greet`, as often as it takes: for a node that the cluster has given up, and that nobody waits for."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                await self.greet()
            except TransportError as error:
                logger.warning("the head cannot be joined yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MOST_PAUSE_S)
            else:
                return

    def _check(self, channel: Channel) -> None:
        told = channel.peer_info
        where = self.cluster
        if told.get("head") != "yes":
            raise WrongHeadError(
                f"At {where} answers a {told.get('kind', 'process')} of this cluster, and not its head. "
                "`cluster status` on the head's machine says what the head's address is."
            )
        if self.session == told.get("session", "") and int(told.get("term", "0")) < self._term:
            raise WrongHeadError(f"The head at {where} was replaced by another, and has not noticed yet.")
        version, python = told.get("version", ""), told.get("python", "")
        if version != VERSION:
            raise WrongHeadError(
                f"The head at {where} runs Limelight {version}, this node {VERSION}: install the same version on both."
            )
        own = platform.python_version()
        if python.split(".")[:2] != own.split(".")[:2] and not self._any_python:
            raise WrongHeadError(
                f"The head at {where} runs Python {python}, this node Python {own}: functions and objects of one "
                "often fail in the other. Use the same minor version on both, or join with --any-python."
            )
        if python != own:
            self.warnings.append(f"The head runs Python {python}, this node Python {own}.")

    async def join(self, registration: RegisterNode, begin: Callable[[], None]) -> None:
        """Register with the head and `begin` to report; returns when the node can be used.

        Raises:
            TransportError: the head cannot be reached, or does not answer.
        """
        self._registration = registration
        await self._register(registration, begin, _JOIN_S)

    async def _register(self, registration: RegisterNode, begin: Callable[[], None], patience: float) -> None:
        sent = time.time()
        answer = self._process.spawn(self._process.request(self._head, HEAD, registration, patience))
        await asyncio.sleep(0)  # one turn: the question is on its way before all that follows
        if self.relay is not None:
            self.relay.connected(self._head)
        if self._manager is not None:
            self._manager.feed(m.HeadConnected())
        begin()
        try:
            registered: NodeRegistered = decoder_of(NodeRegistered).decode(await answer)
        except DeadlineExceededError:
            raise DeadlineExceededError(f"The head has not answered within {patience:g} s.") from None
        self._compare_clocks(sent, registered.time)

    def _compare_clocks(self, sent: float, theirs: float) -> None:
        ahead = max(sent - theirs, theirs - time.time())
        if ahead > _CLOCK_S:
            way = "ahead of" if sent > theirs else "behind"
            self.warnings.append(
                f"This machine's clock is {ahead:.0f} s {way} the head's: logs and timelines will not fit together. "
                "Have both machines keep time (with chrony, for example)."
            )

    # --- a head that goes away ---

    def process_lost(self, process_id: str, reason: str) -> None:
        """A process is out of reach for good. A head with an address of its own is waited for: it may come back."""
        if process_id != self._head.process_id or self._is_here or self._away or self._closing:
            return
        if self._route.process_id:
            self._leave(f"the head is out of reach: {reason}", True)
            return
        logger.warning("the head at %s is out of reach, and waited for; what runs goes on: %s", self.cluster, reason)
        self._look_for_head()

    def _on_head_leads(self, channel: Channel, call: Call) -> None:
        """A head has begun to lead: follow it, if it comes after the one that this node follows, which may live on."""
        told: HeadLeads = decoder_of(HeadLeads).decode(call.body)
        if self._is_here or self._closing or told.session != self.session or told.term <= self._term:
            return
        logger.warning("the head at %s leads now", channel.peer.tcp)
        self._term, self._head, self._announced = told.term, channel.peer, channel.peer.tcp
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
        if self.relay is not None:
            self.relay.disconnected()

    async def _wait_for_head(self) -> None:
        pause = _FIRST_PAUSE_S
        while self._registration is not None and not self._closing:
            self._news.clear()
            self._try_next()
            try:
                async with asyncio.timeout(_GREET_S):
                    await self.greet()
                self._away = False
                await self._register(msgspec.structs.replace(self._registration, back=True), _nothing, _BACK_S)
            except (TransportError, TimeoutError) as error:
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

    def _try_next(self) -> None:
        """Look for the head where it has said that it is, or else at the next of the addresses where one may be."""
        known, announced = self._known_heads, self._announced
        self._announced = ""
        here = known.index(self._route.tcp) if self._route.tcp in known else -1
        self._route = msgspec.structs.replace(self._route, tcp=announced or known[(here + 1) % len(known)])
        self.cluster = self._route.tcp

    def _on_known_heads(self, _: Channel, call: Call) -> None:
        told: KnownHeads = decoder_of(KnownHeads).decode(call.body)
        self._known_heads = told.addresses

    def close(self) -> None:
        """Wait for no head any more."""
        self._closing = True

    def leave(self, reason: str) -> None:
        """Tell the head that this node ends; the last word, when nothing runs here any more."""
        if self._registration is not None and not self._is_here and not self._away:
            self._process.notify(self._head, HEAD, NodeLeaving(self._node_id, reason))

    def _on_describe_head(self, channel: Channel, call: Call) -> None:
        away = time.monotonic() - self._away_since if self._away else None
        channel.reply(call.call_id, encode(HeadStanding(away, self._refused)))

    def _on_expired(self, _: Channel, call: Call) -> None:
        expired: NodeExpired = decoder_of(NodeExpired).decode(call.body)
        self._leave(expired.reason, expired.over)

    def _leave(self, reason: str, over: bool) -> None:
        if self._end is not None:
            self._end(reason, over)

    # --- what is said ---

    def send(self, command: ToHead) -> None:
        """Pass on what the lease machine has to say to the head.

        While the head is away it is dropped: the machine says all that counts again, when it is told `HeadConnected`.
        """
        if not self._away:
            self._process.notify(self._head, HEAD, FromNode(self._node_id, command))

    def drained(self) -> None:
        """Tell the head that this node may end."""
        self._process.notify(self._process.address, HEAD, NodeDrained(self._node_id))

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
        self._process.notify(self._process.address, HEAD, driver)

    def driver_left(self, job_id: bytes, process_id: str) -> None:
        """Tell the head that a driver of this node is gone."""
        self._process.notify(self._process.address, HEAD, DriverLeft(job_id, process_id))

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
                self._give_up(node_id, address)
                if self._manager is not None:
                    self._manager.node_gone(address.process_id)
        while len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        self._peers |= peers.nodes

    def _give_up(self, node_id: str, address: ProcessAddress) -> None:
        """A node is gone: whoever waits for something of its processes here need not find that out by their silence."""
        channels = list(self._process.endpoint.channels.values())
        for channel in channels:
            if channel.peer_info.get("kind") in {"worker", "driver"}:
                channel.notify(CORE, NodesGone.__name__, encode(NodesGone([node_id])))
            elif channel.peer.process_id == address.process_id:
                self._process.endpoint.give_up(channel, "The cluster has given up its node.")


def _nothing() -> None:
    """The node has begun long ago."""


_order_decoder = msgspec.msgpack.Decoder(NodeOrder)
_peers_decoder = msgspec.msgpack.Decoder(PeerNodes)
