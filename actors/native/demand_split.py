"""How the demand of scheduling classes is divided among node managers."""

from typing import TYPE_CHECKING

from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ..contract import NODE, Demand, LeaseRedirected
from .burst import OnTheWay
from .lease_class import LeaseClass
from .locality import locality

if TYPE_CHECKING:
    from .hub import Hub


class _Share:
    """What of a class's demand is asked of one node.

    Attributes:
        wanted: workers wanted there now, for all but the home node.
        held: leases of its, when that was last looked at.
        declared: `wanted` and `seen` as its node manager was last told.
        redirects: workers that it has redirected to others in all, by node.
        seen: how many redirects of its have been followed.
        lost: its node manager is gone.
    """

    __slots__ = ("declared", "held", "lost", "node", "redirects", "seen", "wanted")

    def __init__(self, node: ProcessAddress) -> None:
        self.node = node
        self.wanted = 0
        self.held = 0
        self.declared: tuple[int, int] = (0, 0)
        self.redirects: dict[str, int] = {}
        self.seen = 0
        self.lost = False

    @property
    def owed(self) -> int:
        """Workers wanted there that are not held."""
        return max(0, self.wanted - self.held)


class _Division:
    """The shares of one class, with the sums that tell what is left for the home node.

    Attributes:
        owing: nodes of which more is wanted than is held.
        owed: how much, in all.
        lost: how many of the nodes are.
        held: leases of nodes that are not lost, all but the home node.
        news: nodes that may have to be told.
    """

    def __init__(self, lease_class: LeaseClass, home: str) -> None:
        self.lease_class = lease_class
        self.shares: dict[str, _Share] = {}
        self.owing: dict[str, _Share] = {}
        self.owed = 0
        self.held = 0
        self.lost = 0
        self.news: dict[str, _Share] = {}
        self._home = home

    def share(self, node: ProcessAddress) -> _Share:
        """A node's share; made where there is none yet."""
        share = self.shares.get(node.process_id)
        if share is None:
            share = self.shares[node.process_id] = _Share(node)
            if held := self.lease_class.held.get(node.process_id, 0):
                self.set(share, wanted=held, held=held)
        return share

    def set(self, share: _Share, *, wanted: int | None = None, held: int | None = None, lost: bool = False) -> None:
        """Change a share; the sums follow."""
        node = share.node.process_id
        counts = node != self._home
        if counts and not share.lost:
            self.owed -= share.owed
            self.held -= share.held
        self.lost += lost - share.lost
        share.wanted = share.wanted if wanted is None else wanted
        share.held = share.held if held is None else held
        share.lost = lost
        self.owing.pop(node, None)
        if counts and not lost:
            self.owed += share.owed
            self.held += share.held
            self.news[node] = share
            if share.owed:
                self.owing[node] = share

    def take_in_leases(self) -> None:
        """Look at the leases that came or went. What was wanted of a node is so still, and at least what is held.

        Where leases are not kept, what was had of those that went is asked for anew, wherever there is room.
        """
        lease_class = self.lease_class
        moved, lease_class.moved = lease_class.moved, {}
        for node in moved:
            share = self.shares.get(node)
            if share is not None and not share.lost:
                held = lease_class.held.get(node, 0)
                gone = 0 if lease_class.keeps else max(0, share.held - held)
                self.set(share, wanted=max(share.wanted - gone, held), held=held)

    def limit(self, most: int) -> None:
        """Have at most so many owed in all, by asking for less where much was redirected last."""
        while self.owed > most:
            share = next(reversed(self.owing.values()))
            self.set(share, wanted=share.held + max(0, share.owed - (self.owed - most)))


class DemandSplit:
    """Tells node managers how many workers are wanted of them: others what they were redirected, this node's the rest.

    In all it is what the class wants, and of each node at least what is held of its leases, so that it does not hand
    out others for those that come back. A node that was redirected demand may redirect it in turn. Each is told how
    many of its redirects have been followed (`seen_redirects`): those it counts beyond that are still included in what
    it is asked for. Only nodes for which something changes are looked at. On the wire thread.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._divisions: dict[int, _Division] = {}
        self._version = 0

    def redirected(self, lease_class: LeaseClass, redirect: LeaseRedirected, source: ProcessAddress) -> None:
        """A node says how many workers, in all so far, are to be asked of another instead."""
        division = self._divisions.get(lease_class.key)
        if division is None:
            division = self._divisions[lease_class.key] = _Division(lease_class, self._hub.node.process_id)
        giving, taking = division.share(source), division.share(redirect.node)
        more = max(0, redirect.total - giving.redirects.get(redirect.node.process_id, 0))
        if more:
            giving.redirects[redirect.node.process_id] = redirect.total
            giving.seen += more
        division.set(giving, wanted=giving.wanted - min(more, giving.wanted), lost=giving.lost)
        held = lease_class.held.get(redirect.node.process_id, 0)
        division.set(taking, wanted=taking.wanted + more, held=held)

        def connected(channel: Channel | TransportError) -> None:
            if isinstance(channel, TransportError):
                self.node_lost(redirect.node.process_id)
            else:
                self.declare(lease_class, lease_class.declared)

        self._hub.links.connected(redirect.node, connected)

    def node_lost(self, process_id: str) -> None:
        """A node manager is gone: what it was to give is asked for at home again.

        What was redirected there stays counted: it is what the next redirect there is told by.
        """
        for division in self._divisions.values():
            share = division.shares.get(process_id)
            if share is not None:
                share.declared = (0, 0)
                division.set(share, wanted=0, lost=True)
                division.news.pop(process_id, None)
                self.declare(division.lease_class, division.lease_class.declared)

    def declare(self, lease_class: LeaseClass, wanted: int) -> None:
        """A class wants so many workers in all."""
        division = self._divisions.get(lease_class.key)
        if division is None:
            self._tell(self._hub.node, lease_class, wanted, 0, placed=False)
            return
        division.take_in_leases()
        at_home = self._hub.node.process_id
        home = lease_class.held.get(at_home, 0)
        spare = max(0, wanted - home - division.held)
        division.limit(spare if lease_class.queue else 0)
        news, division.news = division.news, {}
        for share in news.values():
            if not share.lost and (share.wanted, share.seen) != share.declared:
                share.declared = share.wanted, share.seen
                self._tell(share.node, lease_class, share.wanted, share.seen, placed=True)
        seen = division.shares[at_home].seen if at_home in division.shares else 0
        self._tell(self._hub.node, lease_class, home + spare - division.owed, seen, placed=False)

    def coming(self, lease_class: LeaseClass) -> OnTheWay:
        """What is wanted of each node, by the last declaration, and not held."""
        home = self._hub.node.process_id
        division = self._divisions.get(lease_class.key)
        if division is None:
            return OnTheWay({}, home, 0, 1)
        division.take_in_leases()
        placed = {node: share.owed for node, share in division.owing.items()}
        held = lease_class.held.get(home, 0) + division.held
        nodes = len(division.shares) - division.lost + (home not in division.shares)
        return OnTheWay(placed, home, max(0, lease_class.declared - held - division.owed), nodes)

    def _tell(self, node: ProcessAddress, lease_class: LeaseClass, wanted: int, seen: int, *, placed: bool) -> None:
        self._version += 1
        near = [] if placed or not wanted else locality(lease_class.queue, self._hub.identity.node_id)
        body = Demand(lease_class.key, wanted, self._version, lease_class.spec, placed, seen, near)
        self._hub.links.notify(node, NODE, body)
