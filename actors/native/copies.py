"""The further copies of an owned object, by node, and who is getting one."""

from collections.abc import Collection, Iterator, Mapping

from ..contract import Location
from .copy_tree import Copying, CopyTree


class Copies:
    """Locations of an object besides the first one; false where there are none. Keeps its `CopyTree` up to date.

    Each copy may have been dropped where it is meanwhile. Only what somebody asks for has a tree. Not thread-safe.
    """

    __slots__ = ("_places", "_tree")

    def __init__(self, *locations: Location) -> None:
        self._places: dict[bytes, tuple[Location, ...]] = {}
        self._tree: CopyTree | None = None
        for location in locations:
            self.add(location)

    def __len__(self) -> int:
        """How many nodes have one."""
        return len(self._places)

    def __contains__(self, location: Location) -> bool:
        return location in self._places.get(location.node_id, ())

    def __iter__(self) -> Iterator[Location]:
        for places in self._places.values():
            yield from places

    def at(self, node_id: bytes) -> bool:
        """Whether a node has one."""
        return node_id in self._places

    @property
    def copying(self) -> Mapping[bytes, Copying]:
        """The nodes that are getting the object."""
        return self._tree.copying if self._tree is not None else {}

    def begin(self, asking: bytes, first: Location, avoid: Collection[bytes]) -> Copying | None:
        """Send a node to the best source; arguments as of `CopyTree.begin`."""
        if self._tree is None:
            self._tree = CopyTree(self._places)
        return self._tree.begin(asking, first.node_id, first.size, avoid)

    def end(self, node_id: bytes) -> None:
        """A node does not copy the object any more, if it did."""
        if self._tree is not None:
            self._tree.end(node_id)

    def add(self, location: Location) -> None:
        """There is a copy, or a newer one.

        A node that tells of a copy has none of those it told of before. But the first one there may be no such: a task
        that ran again may have made it (`Recovery.made`), and then only its owner frees it.
        """
        node_id = location.node_id
        there = [place for place in self._places.pop(node_id, ()) if place != location]
        self._places[node_id] = (*there[:1], location)
        self._changed(node_id)

    def discard(self, location: Location) -> None:
        """A copy is gone, if it was known."""
        if location in self:
            self._keep(location.node_id, [place for place in self._places[location.node_id] if place != location])

    def leave(self, node_id: bytes) -> tuple[Location, ...]:
        """A node has no copies any more; returns those it was thought to have."""
        gone = self._places.get(node_id, ())
        self._keep(node_id, [])
        return gone

    def pop(self) -> Location:
        """Take out the newest copy: it becomes the first one."""
        node_id, places = self._places.popitem()
        self._keep(node_id, list(places[:-1]))
        return places[-1]

    def _keep(self, node_id: bytes, places: list[Location]) -> None:
        if places:
            self._places[node_id] = tuple(places)
        else:
            self._places.pop(node_id, None)
        self._changed(node_id)

    def _changed(self, node_id: bytes) -> None:
        if self._tree is not None:
            self._tree.changed(node_id)
