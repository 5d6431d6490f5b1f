"""Those who wait for room, by what they need, so that news of one node concerns only those whom that node could serve.

Who needs the same waits in one queue: where its first cannot be placed, nor can the others, and they are not looked at.
Queues for one node, or for one placement group, are found by it. So news of a node costs as many steps as there are
different needs that it may serve, however many wait.
"""

from collections import OrderedDict
from collections.abc import Iterable
from itertools import chain
from typing import Generic, TypeVar

from .labels import LabelSelector
from .resources import ResourceSet
from .strategy import InBundle, LeaseSpec, NodeAffinity, Strategy

K = TypeVar("K")
V = TypeVar("V")

Need = tuple[ResourceSet, tuple[LabelSelector, ...], Strategy]
"""What decides whether a node serves: the amounts, the labels asked for, and the strategy."""

Place = str | bytes | None
"""The node, or the placement group, that alone may serve; None: any node may."""


def need_of(spec: LeaseSpec) -> Need:
    """What a spec needs of its node; its job and environment do not matter there."""
    return spec.resources, (spec.label_selector, *spec.fallback), spec.strategy


class WaitingRoom(Generic[K, V]):
    """Queues of what waits (V), known by keys (K), each in the order in which it came. Not thread-safe."""

    def __init__(self) -> None:
        self._places: dict[Place, dict[Need, OrderedDict[K, V]]] = {}
        self._needs: dict[K, Need] = {}

    def __len__(self) -> int:
        return len(self._needs)

    def __contains__(self, key: K) -> bool:
        return key in self._needs

    def add(self, key: K, need: Need, value: V) -> None:
        """Have it wait, behind the others of its need; it keeps its place where it waits already."""
        if key not in self._needs:
            self._needs[key] = need
            self._places.setdefault(_place(need), {}).setdefault(need, OrderedDict())[key] = value

    def remove(self, key: K) -> V | None:
        """It waits no more; returns it, or None where it did not."""
        need = self._needs.pop(key, None)
        if need is None:
            return None
        place = _place(need)
        queues = self._places[place]
        value = queues[need].pop(key)
        if not queues[need]:
            del queues[need]
            if not queues:
                del self._places[place]
        return value

    def rotate(self, key: K) -> None:
        """It had its turn: the others of its need come first now."""
        need = self._needs.get(key)
        if need is not None:
            self._places[_place(need)][need].move_to_end(key)

    def queues(self) -> list[tuple[Need, OrderedDict[K, V]]]:
        """All queues."""
        return list(chain.from_iterable(queues.items() for queues in self._places.values()))

    def served_by(self, node_id: str, groups: Iterable[bytes]) -> list[tuple[Need, OrderedDict[K, V]]]:
        """The queues that a node, with bundles of these groups, may serve."""
        places: list[Place] = [None, node_id, *groups]
        return [item for place in places if place in self._places for item in self._places[place].items()]

    def in_group(self, group_id: bytes) -> list[tuple[Need, OrderedDict[K, V]]]:
        """The queues for bundles of one placement group."""
        return list(self._places.get(group_id, {}).items())


def _place(need: Need) -> Place:
    strategy = need[2]
    if isinstance(strategy, InBundle):
        return strategy.group_id
    return strategy.node_id if isinstance(strategy, NodeAffinity) and not strategy.soft else None
