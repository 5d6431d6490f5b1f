"""How the demand of scheduling classes is divided among node managers."""

from typing import TYPE_CHECKING, Any

from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ..contract import NODE, Demand, LeaseRedirected
from .lease_class import LeaseClass
from .locality import locality

if TYPE_CHECKING:
    from .hub import Hub


class _Share:
    """What of a class's demand was sent to another node: workers wanted there now, and redirected there in all."""

    __slots__ = ("declared", "node", "seen", "wanted")

    def __init__(self, node: ProcessAddress) -> None:
        self.node = node
        self.wanted = 0
        self.declared = 0
        self.seen = 0


class DemandSplit:
    """Tells node managers how many workers are wanted of them: others what they were redirected, this node's the rest.

    What is held of a node's leases is wanted of it, so that it does not hand out others for those that come back. The
    home node is told how many redirects have been seen (`seen_redirects`, over all nodes and times): those it counts
    beyond that are still included in what it is asked for. On the wire thread.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._shares: dict[int, dict[str, _Share]] = {}
        self._seen_of_lost: dict[int, int] = {}
        self._classes: dict[int, LeaseClass] = {}
        self._version = 0

    def redirected(self, lease_class: LeaseClass, redirect: LeaseRedirected) -> None:
        """The home node says how many workers, in all so far, are to be asked of another."""
        self._classes[lease_class.key] = lease_class
        shares = self._shares.setdefault(lease_class.key, {})
        share = shares.get(redirect.node.process_id)
        if share is None:
            share = shares[redirect.node.process_id] = _Share(redirect.node)
        share.wanted += max(0, redirect.total - share.seen)
        share.seen = max(share.seen, redirect.total)

        def connected(channel: Channel | TransportError) -> None:
            if isinstance(channel, TransportError):
                self.node_lost(redirect.node.process_id)
            else:
                self.declare(lease_class, lease_class.declared)

        self._hub.links.connected(redirect.node, connected)

    def node_lost(self, process_id: str) -> None:
        """A node manager is gone: what it was to give is asked for at home again."""
        for key, shares in self._shares.items():
            share = shares.pop(process_id, None)
            if share is not None:
                self._seen_of_lost[key] = self._seen_of_lost.get(key, 0) + share.seen
                self.declare(self._classes[key], self._classes[key].declared)

    def declare(self, lease_class: LeaseClass, wanted: int) -> None:
        """A class wants so many workers in all."""
        shares = self._shares.get(lease_class.key)
        if not shares:
            self._tell(self._hub.node, lease_class, wanted, seen=self._seen_of_lost.get(lease_class.key, 0))
            return
        held: dict[str, int] = {}
        for lease in lease_class.leases.values():
            link: Any = lease.link
            held[link.node.process_id] = held.get(link.node.process_id, 0) + 1
        home = held.get(self._hub.node.process_id, 0)
        left = wanted - home
        for process_id, share in shares.items():
            here = held.get(process_id, 0)
            share.wanted = max(here, min(share.wanted, left) if lease_class.queue else 0)
            left -= share.wanted
            if share.wanted != share.declared:
                share.declared = share.wanted
                self._tell(share.node, lease_class, share.wanted, placed=True)
        seen = self._seen_of_lost.get(lease_class.key, 0) + sum(share.seen for share in shares.values())
        self._tell(self._hub.node, lease_class, home + max(0, left), seen=seen)

    def _tell(
        self, node: ProcessAddress, lease_class: LeaseClass, wanted: int, *, placed: bool = False, seen: int = 0
    ) -> None:
        self._version += 1
        near = [] if placed or not wanted else locality(lease_class.queue, self._hub.identity.node_id)
        body = Demand(lease_class.key, wanted, self._version, lease_class.spec, placed, seen, near)
        self._hub.links.notify(node, NODE, body)
