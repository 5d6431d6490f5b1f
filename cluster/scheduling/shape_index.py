"""The nodes that can hold one shape of request, kept so that a decision looks at a few of them only.

A node is a candidate when it had room as its report came, and is none any more when a decision finds that it has none,
so finding a node costs a constant number of steps per decision and per report, however many nodes there are. Among many
candidates a random sample is compared ("the power of d choices", Mitzenmacher 2001); few are compared all.
"""

from random import Random
from typing import TYPE_CHECKING

from .labels import LabelSelector, matches
from .resources import ResourceSet

if TYPE_CHECKING:
    from .cluster_view import Node

SAMPLE = 8
"""Candidates that one decision compares."""


class NodeSet:
    """A set of nodes with random access: insertion, removal and drawing in constant time, in an order that repeats."""

    __slots__ = ("_places", "nodes")

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._places: dict[str, int] = {}

    def __contains__(self, node: "Node") -> bool:
        return node.node_id in self._places

    def __len__(self) -> int:
        return len(self.nodes)

    def add(self, node: "Node") -> None:
        """Put in a node; no effect where it is in."""
        if node.node_id not in self._places:
            self._places[node.node_id] = len(self.nodes)
            self.nodes.append(node)

    def discard(self, node: "Node") -> None:
        """Take out a node; the last one takes its place."""
        place = self._places.pop(node.node_id, None)
        if place is not None:
            last = self.nodes.pop()
            if last is not node:
                self.nodes[place] = last
                self._places[last.node_id] = place


class ShapeIndex:
    """Feasible nodes of one shape, and those among them that may have room now."""

    __slots__ = ("_cursor", "_random", "candidates", "feasible", "request", "selector")

    def __init__(self, request: ResourceSet, selector: LabelSelector, random: Random) -> None:
        self.request = request
        self.selector = selector
        self.feasible = NodeSet()
        self.candidates = NodeSet()
        self._random = random
        self._cursor = 0

    def reconsider(self, node: "Node") -> None:
        """What the node has in all, or its labels, changed."""
        if node.holds(self.request) and matches(self.selector, node.labels):
            self.feasible.add(node)
            self.candidates.add(node)
        else:
            self.discard(node)

    def freed(self, node: "Node") -> None:
        """The node may have room again, or none any more."""
        if node.fits(self.request):
            if node in self.feasible:
                self.candidates.add(node)
        else:
            self.candidates.discard(node)

    def discard(self, node: "Node") -> None:
        """The node is gone or holds the shape no more."""
        self.feasible.discard(node)
        self.candidates.discard(node)

    def sample(self, size: int = SAMPLE) -> "list[Node]":
        """Up to `size` different nodes that have room now, at random; all of them where there are no more."""
        nodes = self.candidates.nodes
        if len(nodes) <= size:
            for node in [node for node in nodes if not node.fits(self.request)]:
                self.candidates.discard(node)
            return list(nodes)
        found: dict[str, Node] = {}
        for _ in range(4 * size):
            if len(nodes) <= size:
                return self.sample(size)
            node = nodes[int(self._random.random() * len(nodes))]
            if not node.fits(self.request):
                self.candidates.discard(node)
            else:
                found[node.node_id] = node
                if len(found) == size:
                    break
        return list(found.values()) or self._sweep()

    def sample_feasible(self, size: int) -> "list[Node]":
        """Up to `size` different nodes that could hold the shape when they are empty, at random; all where no more."""
        nodes = self.feasible.nodes
        return list(nodes) if len(nodes) <= size else self._random.sample(nodes, size)

    def next_in_turn(self) -> "Node | None":
        """The next node with room, going round."""
        nodes = self.candidates.nodes
        while nodes:
            self._cursor = (self._cursor + 1) % len(nodes)
            node = nodes[self._cursor]
            if node.fits(self.request):
                return node
            self.candidates.discard(node)
            self._cursor -= 1
        return None

    def any_feasible(self) -> "Node | None":
        """A node at random that can hold the shape when it is empty."""
        nodes = self.feasible.nodes
        return nodes[int(self._random.random() * len(nodes))] if nodes else None

    def _sweep(self) -> "list[Node]":
        """The sample hit only nodes without room: drop such nodes until one has. Each is dropped once per report."""
        node = self.next_in_turn()
        return [] if node is None else [node]
