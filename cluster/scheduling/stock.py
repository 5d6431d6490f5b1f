"""What all nodes have in all, for people: counted now and then, since counting means looking at every node."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .cluster_view import Node

EXACT = 16
"""Counted anew at every change with up to so many nodes; with more, after as many changes as there are nodes."""


class Amounts(NamedTuple):
    """Units of one kind: what there is, what of it is in use and by whom, and the most that one node has."""

    total: int = 0
    used: int = 0
    lasting: int = 0
    most: int = 0


class Stock:
    """Sums over the nodes of a cluster. Not thread-safe.

    Args:
        nodes: all of them, by id.
    """

    def __init__(self, nodes: "Mapping[str, Node]") -> None:
        self._nodes = nodes
        self._changes = 0
        self._counted_at = -1
        self._amounts: dict[str, Amounts] = {}

    def changed(self) -> None:
        """A node came, went or said something new."""
        self._changes += 1

    def of(self, kinds: Iterable[str]) -> dict[str, Amounts]:
        """By kind; as of about a second ago where there are many nodes."""
        often = len(self._nodes) if len(self._nodes) > EXACT else 0
        if self._counted_at < 0 or self._changes - self._counted_at > often:
            self._count()
            self._counted_at = self._changes
        return {kind: self._amounts.get(kind, Amounts()) for kind in kinds}

    def _count(self) -> None:
        self._amounts = {}
        for node in self._nodes.values():
            unused = node.unused()
            for kind, units in node.total.items():
                total, used, lasting, most = self._amounts.get(kind, Amounts())
                self._amounts[kind] = Amounts(
                    total + units,
                    used + units - unused.get(kind, 0),
                    lasting + node.lasting.get(kind, 0),
                    max(most, units),
                )
