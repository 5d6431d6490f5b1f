"""Which bundle of a placement group goes to which node. Pure.

Bundles are placed largest first into what nodes have free (first fit decreasing; Johnson 1973), which is within 22 % of
the fewest nodes and needs no search.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

from .cluster_view import ClusterView, Node
from .group_table import GroupStrategy
from .labels import LabelSelector, matches
from .ledger import Ledger
from .resources import ResourceSet, total_of
from .shape_index import SAMPLE

Wish = tuple[ResourceSet, LabelSelector]
"""A bundle, and the conditions on its node's labels."""


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

    def take(self, wish: Wish) -> bool:
        """Put a bundle here, if it fits and the node's labels do."""
        bundle, selector = wish
        if not matches(selector, self.node.labels) or self.ledger.allocate(bundle) is None:
            return False
        self.bundles += 1
        return True


def plan(
    view: ClusterView,
    bundles: Mapping[int, ResourceSet],
    strategy: GroupStrategy,
    taken: Sequence[str] = (),
    *,
    selectors: Mapping[int, LabelSelector] | None = None,
    target: str = "",
    topology: str = "",
    empty: bool = False,
) -> dict[int, str] | None:
    """Choose a node for each bundle, or None where they do not all fit now.

    A random few of the nodes with room are looked at, and more of them, up to all, only until the bundles fit.

    Args:
        view: the nodes.
        bundles: what is to be placed, by index.
        strategy: PACK and SPREAD do their best; the strict ones refuse what they cannot keep.
        taken: nodes that hold other bundles of the group already.
        selectors: conditions on the labels of a bundle's node, by index.
        target: the node to be preferred, where it has room for all.
        topology: the label that all nodes of the group must have with one value; "": none.
        empty: plan as if nothing ran anywhere, to learn whether it can ever fit.
    """
    wishes = {index: (bundle, (selectors or {}).get(index, ())) for index, bundle in bundles.items()}
    indexes = [view.shape(*wish) for wish in dict.fromkeys(wishes.values())]
    size = SAMPLE if strategy in {"PACK", "STRICT_PACK"} else max(SAMPLE, 2 * len(bundles))
    while True:
        found = [index.sample_feasible(size) if empty else index.sample(size) for index in indexes]
        if not all(found):
            return None  # none has room for one of them, so there is none for all
        known = [view.nodes[node_id] for node_id in (*taken, target) if node_id in view.nodes]
        nodes = {node.node_id: node for node in (*known, *chain.from_iterable(found)) if not node.draining}
        for together in _domains(
            list(nodes.values()), topology, [view.nodes[one] for one in taken if one in view.nodes]
        ):
            rooms = [Room(node, empty=empty) for node in together]
            chosen = _plan_on(rooms, wishes, strategy, taken, target)
            if chosen is not None:
                return chosen
        if all(len(some) < size for some in found):
            return None
        size *= 8


def _domains(nodes: list[Node], topology: str, taken: list[Node]) -> list[list[Node]]:
    """The nodes among which a group has to stay, for each of its choices; the one with most nodes first."""
    if not topology:
        return [nodes]
    domains: dict[str, list[Node]] = {}
    for node in nodes:
        if topology in node.labels:
            domains.setdefault(node.labels[topology], []).append(node)
    if taken:
        return [domains.get(taken[0].labels.get(topology, ""), [])]
    return sorted(domains.values(), key=len, reverse=True)


def _plan_on(
    rooms: list[Room], wishes: Mapping[int, Wish], strategy: GroupStrategy, taken: Sequence[str], target: str
) -> dict[int, str] | None:
    if strategy == "STRICT_PACK":
        return _on_one(rooms, wishes, taken, target)
    placed: dict[int, str] = {}
    used = set(taken)
    for index in sorted(wishes, key=lambda index: _weight(wishes[index]), reverse=True):
        room = _choose(rooms, wishes[index], strategy, used)
        if room is None:
            return None
        placed[index] = room.node.node_id
        used.add(room.node.node_id)
    return placed


def _on_one(rooms: list[Room], wishes: Mapping[int, Wish], taken: Sequence[str], target: str) -> dict[int, str] | None:
    together = total_of(bundle for bundle, _ in wishes.values())
    for room in sorted(rooms, key=lambda room: (room.node.node_id == target, room.node.busy), reverse=True):
        if taken and room.node.node_id not in taken:
            continue
        if together.fits(room.ledger.available) and all(room.take(wish) for wish in wishes.values()):
            return dict.fromkeys(wishes, room.node.node_id)
    return None


def _choose(rooms: list[Room], wish: Wish, strategy: GroupStrategy, used: set[str]) -> Room | None:
    wasteful = not wish[0].has_accelerator()

    def order(room: Room) -> tuple[float, ...]:
        fresh = room.node.node_id not in used
        avoid = wasteful and room.node.has_accelerator
        if strategy == "PACK":
            return (fresh, avoid, -room.node.busy)
        return (not fresh, room.bundles, avoid, room.node.busy)

    fitting = [room for room in rooms if wish[0].fits(room.ledger.available)]
    if strategy == "STRICT_SPREAD":
        fitting = [room for room in fitting if room.node.node_id not in used]
    for room in sorted(fitting, key=order):
        if room.take(wish):
            return room
    return None


def _weight(wish: Wish) -> tuple[bool, bool, int, int]:
    """Who chooses first: those for whom few nodes will do, then the largest."""
    bundle, selector = wish
    return bool(selector), bundle.has_accelerator(), len(bundle.amounts), sum(units for _, units in bundle.amounts)
