"""Which bundle of a placement group goes to which node. Pure.

Bundles are placed largest first into what nodes have free (first fit decreasing; Johnson 1973), which is within 22 % of
the fewest nodes and needs no search.
"""

from collections.abc import Mapping, Sequence

from .cluster_view import ClusterView, Node
from .group_table import GroupStrategy
from .ledger import Ledger
from .resources import ResourceSet, total_of


class Room:
    """A node with what is free on it, less what this plan has put there."""

    __slots__ = ("bundles", "ledger", "node")

    def __init__(self, node: Node, *, empty: bool) -> None:
        self.node = node
        self.bundles = 0
        self.ledger = Ledger(ResourceSet.of_units(node.total))
        if not empty:
            self.ledger.available = dict(node.available)
            self.ledger.free = {kind: dict(free) for kind, free in node.free.items()}

    def take(self, bundle: ResourceSet) -> bool:
        """Put a bundle here, if it fits."""
        if self.ledger.allocate(bundle) is None:
            return False
        self.bundles += 1
        return True


def plan(
    view: ClusterView,
    bundles: Mapping[int, ResourceSet],
    strategy: GroupStrategy,
    taken: Sequence[str] = (),
    *,
    empty: bool = False,
) -> dict[int, str] | None:
    """Choose a node for each bundle, or None where they do not all fit now.

    Args:
        view: the nodes; all are looked at, for a group is a rare and weighty thing.
        bundles: what is to be placed, by index.
        strategy: PACK and SPREAD do their best; the strict ones refuse what they cannot keep.
        taken: nodes that hold other bundles of the group already.
        empty: plan as if nothing ran anywhere, to learn whether it can ever fit.
    """
    kinds = set(bundles.values())
    nodes = [node for node in view.nodes.values() if not node.draining]
    useful = [n for n in nodes if any(bundle.fits(n.total if empty else n.available) for bundle in kinds)]
    rooms = [Room(node, empty=empty) for node in useful]
    if strategy == "STRICT_PACK":
        return _on_one(rooms, bundles, taken)
    placed: dict[int, str] = {}
    used = set(taken)
    for index in sorted(bundles, key=lambda index: _weight(bundles[index]), reverse=True):
        room = _choose(rooms, bundles[index], strategy, used)
        if room is None:
            return None
        placed[index] = room.node.node_id
        used.add(room.node.node_id)
    return placed


def _on_one(rooms: list[Room], bundles: Mapping[int, ResourceSet], taken: Sequence[str]) -> dict[int, str] | None:
    together = total_of(bundles.values())
    for room in sorted(rooms, key=lambda room: room.node.busy, reverse=True):
        if taken and room.node.node_id not in taken:
            continue
        if together.fits(room.ledger.available) and all(room.take(bundle) for bundle in bundles.values()):
            return dict.fromkeys(bundles, room.node.node_id)
    return None


def _choose(rooms: list[Room], bundle: ResourceSet, strategy: GroupStrategy, used: set[str]) -> Room | None:
    wasteful = not bundle.has_accelerator()

    def order(room: Room) -> tuple[float, ...]:
        fresh = room.node.node_id not in used
        avoid = wasteful and room.node.has_accelerator
        if strategy == "PACK":
            return (fresh, avoid, -room.node.busy)
        return (not fresh, room.bundles, avoid, room.node.busy)

    fitting = [room for room in rooms if bundle.fits(room.ledger.available)]
    if strategy == "STRICT_SPREAD":
        fitting = [room for room in fitting if room.node.node_id not in used]
    for room in sorted(fitting, key=order):
        if room.take(bundle):
            return room
    return None


def _weight(bundle: ResourceSet) -> tuple[bool, int, int]:
    return bundle.has_accelerator(), len(bundle.amounts), sum(units for _, units in bundle.amounts)
