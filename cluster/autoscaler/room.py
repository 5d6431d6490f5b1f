"""Room on machines: identical ones are one `Room` with a count, so that packing costs by their kinds.

A large cluster has thousands of nodes, but few that differ in anything that what waits asks for.
"""

from collections.abc import Hashable, Iterable, Mapping

from ..provider.instance import NodeType
from ..scheduling.labels import LabelSelector, matches
from ..scheduling.ledger import pick_devices
from ..scheduling.resources import ACCELERATORS, UNIT, ResourceSet
from .message import NodeSeen, Want

MANY = 32
"""Of more kinds and labels than that, those not asked for any more are forgotten."""

Devices = Mapping[str, Iterable[int]]
"""Of each kind of accelerator, the free units of each device."""


class Room:
    """`count` machines, each with this much room.

    Attributes:
        source: where they came from, for whoever made the room.
        group: the placement group that has put something there last, so that it can keep its bundles apart.
    """

    __slots__ = ("available", "count", "devices", "group", "labels", "source", "used")

    def __init__(
        self,
        source: Hashable,
        labels: Mapping[str, str],
        available: Mapping[str, int],
        devices: Devices,
        count: int = 1,
    ) -> None:
        self.source = source
        self.labels = labels
        self.available = dict(available)
        self.devices = {kind: dict(enumerate(units)) for kind, units in devices.items()}
        self.count = count
        self.used = False
        self.group = -1

    def copy(self, count: int) -> "Room":
        """So many machines that are the same."""
        made = Room(self.source, self.labels, self.available, {}, count)
        made.devices = {kind: dict(free) for kind, free in self.devices.items()}
        made.used, made.group = self.used, self.group
        return made

    def capacity(self, shape: ResourceSet, at_most: int) -> int:
        """How many of `shape` fit on each, up to `at_most`."""
        most = at_most
        for kind, units in shape.amounts:
            most = min(most, self.available.get(kind, 0) // units)
        if most > 0 and any(kind in self.devices for kind, _ in shape.amounts):
            most = self.copy(1).put(shape, most)
        return max(0, most)

    def put(self, shape: ResourceSet, at_most: int = 1) -> int:
        """Put `shape` on each of the machines, up to `at_most` times; returns how many times it fitted."""
        wanted = [kind for kind, _ in shape.amounts if kind in self.devices]
        done = 0
        while done < at_most and shape.fits(self.available):
            picks = {kind: pick_devices(self.devices[kind], shape.get(kind)) for kind in wanted}
            if None in picks.values():
                break
            times = 1 if wanted else at_most - done
            for kind, units in shape.amounts:
                times = min(times, self.available[kind] // units)
            for kind, picked in picks.items():
                for index, share in picked or ():
                    self.devices[kind][index] -= share
            for kind, units in shape.amounts:
                self.available[kind] -= units * times
            done += times
        self.used = self.used or done > 0
        return done


class Rooms:
    """All the room there is, or is coming. Filled in order: what runs, what starts, what is only planned."""

    def __init__(self, rooms: Iterable[Room] = ()) -> None:
        self.rooms = list(rooms)

    def copy(self) -> "Rooms":
        """To try something."""
        return Rooms(room.copy(room.count) for room in self.rooms)

    def take(self, room: Room, count: int) -> Room:
        """Of a room of several machines, so many on their own."""
        if count == room.count:
            return room
        room.count -= count
        part = room.copy(count)
        self.rooms.append(part)
        return part

    def place(self, want: Want) -> int:
        """Put as many of `want` somewhere as fit; returns how many are left."""
        left = want.count
        for room in list(self.rooms):
            if not left:
                break
            if not matches(want.selector, room.labels):
                continue
            each = room.capacity(want.resources, left)
            if not each:
                continue
            full = min(room.count, left // each)
            rest = left - full * each if full < room.count else 0
            left -= full * each + rest
            if rest:
                self.take(room, 1).put(want.resources, rest)
            if full:
                self.take(room, full).put(want.resources, each)
        return left


def room_of(node_type: NodeType, source: Hashable, count: int = 1) -> Room:
    """New machines of a type."""
    units = node_type.resources.units()
    return Room(source, node_type.node_labels(""), units, devices_of(units), count)


def devices_of(units: Mapping[str, int]) -> dict[str, list[int]]:
    """The devices of a machine that is all free."""
    return {kind: [UNIT] * (amount // UNIT) for kind, amount in units.items() if kind in ACCELERATORS}


class RoomIndex:
    """The nodes, sorted by what matters of them to what is asked for now. Follows each node's changes by itself.

    Only kinds of resources, and labels, that somebody asks for make nodes differ; `focus` says which.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, NodeSeen] = {}
        self._kinds: frozenset[str] = frozenset()
        self._labels: frozenset[str] = frozenset()
        self._members: dict[Hashable, dict[str, None]] = {}
        self._rooms: dict[Hashable, tuple[Room, Room]] = {}
        self._key_of: dict[str, Hashable] = {}

    def learn(self, node: NodeSeen) -> None:
        """A node as it is now."""
        self.forget(node.node_id)
        self.nodes[node.node_id] = node
        self._sort(node)

    def forget(self, node_id: str) -> None:
        """A node is gone."""
        if self.nodes.pop(node_id, None) is not None and (key := self._key_of.pop(node_id, None)) is not None:
            members = self._members[key]
            del members[node_id]
            if not members:
                del self._members[key], self._rooms[key]

    def focus(self, wants: Iterable[tuple[ResourceSet, LabelSelector]]) -> None:
        """Tell nodes apart by what these ask for. Looks at all nodes when something new is asked for."""
        kinds, labels = set[str](), set[str]()
        for resources, selector in wants:
            kinds.update(kind for kind, _ in resources.amounts)
            labels.update(condition.key for condition in selector)
        if kinds <= self._kinds and labels <= self._labels:
            return
        if len(self._kinds | self._labels) < MANY:  # else what was asked for long ago only tells equal nodes apart
            kinds |= self._kinds
            labels |= self._labels
        self._kinds, self._labels = frozenset(kinds), frozenset(labels)
        self._members, self._rooms, self._key_of = {}, {}, {}
        for node in self.nodes.values():
            self._sort(node)

    def key_of(self, node_id: str) -> Hashable:
        """Names the kind of node that it is at present."""
        return self._key_of.get(node_id)

    def free(self) -> list[Room]:
        """What is free now on nodes that take work."""
        return self._listed(0)

    def whole(self) -> list[Room]:
        """What those nodes have in all, those that are idle last."""
        return sorted(self._listed(1), key=lambda room: is_idle(room.source))

    def _listed(self, which: int) -> list[Room]:
        return [self._rooms[key][which].copy(len(members)) for key, members in self._members.items()]

    def _sort(self, node: NodeSeen) -> None:
        if node.draining:
            return
        labels = tuple((key, node.labels[key]) for key in sorted(self._labels) if key in node.labels)
        total = tuple((kind, units) for kind, units in node.total.amounts if kind in self._kinds)
        available = tuple((kind, node.available.get(kind, 0)) for kind, _ in total)
        devices = tuple((kind, tuple(sorted(free.values()))) for kind, free in node.free.items() if kind in self._kinds)
        key = (not node.holds, labels, total, available, devices)
        self._key_of[node.node_id] = key
        self._members.setdefault(key, {})[node.node_id] = None
        if key not in self._rooms:
            whole = dict(total)
            self._rooms[key] = (
                Room(key, dict(labels), dict(available), dict(devices)),
                Room(key, dict(labels), whole, devices_of(whole)),
            )


def is_idle(source: Hashable) -> bool:
    """Whether a room's nodes could all be given back."""
    return isinstance(source, tuple) and source[0] is True
