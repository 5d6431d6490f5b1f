"""How the demand of scheduling classes is divided among node managers."""

from typing import TYPE_CHECKING

from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ..contract import NODE, Demand, LeaseRedirected
from .lease_class import LeaseClass
from .locality import locality

if TYPE_CHECKING:
    from .hub import Hub


class _Share:
    """What of a class's demand is asked of one node.

    Attributes:
        wanted: workers wanted there now, for all but the home node.
        declared: `wanted` and `seen` as its node manager was last told.
        redirects: workers that it has redirected to others in all, by node.
        seen: how many redirects of its have been followed.
        lost: its node manager is gone.
    """

    __slots__ = ("declared", "lost", "node", "redirects", "seen", "wanted")

    def __init__(self, node: ProcessAddress) -> None:
        self.node = node
        self.wanted = 0
        self.declared: tuple[int, int] = (0, 0)
        self.redirects: dict[str, int] = {}
        self.seen = 0
        self.lost = False


class DemandSplit:
    """Tells node managers how many workers are wanted of them: others what they were redirected, this node's the rest.

    In all it is what the class wants, and of each node at least what is held of its leases, so that it does not hand
    out others for those that come back. A node that was redirected demand may redirect it in turn. Each is told how
    many of its redirects have been followed (`seen_redirects`): those it counts beyond that are still included in what
    it is asked for. On the wire thread.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._shares: dict[int, dict[str, _Share]] = {}
        self._active: dict[int, dict[str, _Share]] = {}  # those that are asked for something, or may have to be told
        self._classes: dict[int, LeaseClass] = {}
        self._version = 0

    def redirected(self, lease_class: LeaseClass, redirect: LeaseRedirected, source: ProcessAddress) -> None:
        """A node says how many workers, in all so far, are to be asked of another instead."""
        self._classes[lease_class.key] = lease_class
        giving, taking = self._share(lease_class, source), self._share(lease_class, redirect.node)
        more = max(0, redirect.total - giving.redirects.get(redirect.node.process_id, 0))
        if more:
            giving.redirects[redirect.node.process_id] = redirect.total
            giving.seen += more
        giving.wanted -= min(more, giving.wanted)
        taking.wanted += more
        taking.lost = False

        def connected(channel: Channel | TransportError) -> None:
            if isinstance(channel, TransportError):
                self.node_lost(redirect.node.process_id)
            else:
                self.declare(lease_class, lease_class.declared)

        self._hub.links.connected(redirect.node, connected)

    def _share(self, lease_class: LeaseClass, node: ProcessAddress) -> _Share:
        shares = self._shares.setdefault(lease_class.key, {})
        share = shares.get(node.process_id)
        if share is None:
            share = shares[node.process_id] = _Share(node)
        self._active.setdefault(lease_class.key, {})[node.process_id] = share
        return share

    def node_lost(self, process_id: str) -> None:
        """A node manager is gone: what it was to give is asked for at home again.

        What was redirected there stays counted: it is what the next redirect there is told by.
        """
        for key, shares in self._shares.items():
            share = shares.get(process_id)
            if share is not None:
                share.wanted, share.declared, share.lost = 0, (0, 0), True
                self.declare(self._classes[key], self._classes[key].declared)

    def declare(self, lease_class: LeaseClass, wanted: int) -> None:
        """A class wants so many workers in all."""
        shares = self._shares.get(lease_class.key)
        if not shares:
            self._tell(self._hub.node, lease_class, wanted, 0, placed=False)
            return
        held, active = lease_class.held, self._active[lease_class.key]
        for process_id in held:
            if process_id in shares:
                active[process_id] = shares[process_id]
        at_home = self._hub.node.process_id
        home = held.get(at_home, 0)
        living = [share for share in active.values() if not share.lost and share.node.process_id != at_home]
        spare = max(0, wanted - home - sum(held.get(share.node.process_id, 0) for share in living))
        for share in living:
            here = held.get(share.node.process_id, 0)
            more = min(max(0, share.wanted - here), spare) if lease_class.queue else 0
            spare -= more
            share.wanted = here + more
            if (share.wanted, share.seen) != share.declared:
                share.declared = share.wanted, share.seen
                self._tell(share.node, lease_class, share.wanted, share.seen, placed=True)
            if not share.wanted:
                del active[share.node.process_id]
        seen = shares[at_home].seen if at_home in shares else 0
        self._tell(self._hub.node, lease_class, home + spare, seen, placed=False)

    def _tell(self, node: ProcessAddress, lease_class: LeaseClass, wanted: int, seen: int, *, placed: bool) -> None:
        self._version += 1
        near = [] if placed or not wanted else locality(lease_class.queue, self._hub.identity.node_id)
        body = Demand(lease_class.key, wanted, self._version, lease_class.spec, placed, seen, near)
        self._hub.links.notify(node, NODE, body)
