"""Which machines would hold what waits: first what there is, then as few and as full new ones as possible. Pure.

Greedy, largest first: each step adds the type that one machine of which would be used best by what is left, as many of
them as would be used in the same way. That costs by the kinds of things that wait and by node types, not by how many
there are of either. Sources: first fit decreasing (Johnson 1973); choosing bin sizes greedily by what fills them
(Friesen and Langston 1986, "Variable sized bin packing").
"""

from collections.abc import Iterable
from typing import NamedTuple

from ..provider.instance import NodeType
from ..scheduling.labels import LabelCondition, LabelSelector, matches
from ..scheduling.resources import BYTES, ResourceSet, total_of
from .message import PendingGroup, Want
from .room import Room, Rooms, room_of


class New(NamedTuple):
    """The source of rooms on machines that are yet to be launched."""

    node_type: str


class Offer:
    """A node type, and how many of it may still be launched.

    Attributes:
        spare: how many more there may be of this type.
        open: false while launches of it fail.
    """

    __slots__ = ("node_type", "open", "order", "spare")

    def __init__(self, node_type: NodeType, spare: int, order: int, *, is_open: bool = True) -> None:
        self.node_type = node_type
        self.spare = spare
        self.order = order
        self.open = is_open

    def has_accelerator(self) -> bool:
        """Whether its machines have devices."""
        return self.node_type.resources.has_accelerator()

    def could_hold(self, want: Want) -> bool:
        """Whether an empty machine of it would do."""
        room = room_of(self.node_type, None)
        return matches(want.selector, room.labels) and room.capacity(want.resources, 1) > 0


class Plan:
    """What is decided so far: what goes where, and which machines that takes.

    Args:
        rooms: what there is and what is starting.
        offers: what can be launched.
        spare: how many machines there may be more, of all types together.

    Attributes:
        floor_rooms: what there is in all, as the plan for the floor has filled it; for whoever gives machines back.
        launches: how many of each type, in the order in which they were wanted.
        reasons: why, by type.
        unmet: what nothing can be launched for, and why not, in words.
    """

    def __init__(self, rooms: Rooms, offers: list[Offer], spare: int) -> None:
        self.rooms = rooms
        self.floor_rooms = Rooms()
        self.launches: dict[str, int] = {}
        self.reasons: dict[str, list[str]] = {}
        self.unmet: list[str] = []
        self._offers = offers
        self._spare = spare
        self._groups = 0
        self._could: dict[tuple[ResourceSet, LabelSelector], list[Offer]] = {}

    def add_machines(self, node_type: str, count: int, reason: str) -> int:
        """Launch so many, as far as the bounds allow; returns how many."""
        offer = next(offer for offer in self._offers if offer.node_type.name == node_type)
        count = min(count, self._most(offer)) if offer.open else 0
        if count > 0:
            self._launch(offer, room_of(offer.node_type, New(node_type), count), reason)
        return max(0, count)

    def add_wants(self, wants: Iterable[Want], why: str) -> None:
        """Find room for what waits. `why`: what to call it."""
        left = [want for want in sorted(wants, key=_weight, reverse=True) if want.count > 0]
        remaining = [self.rooms.place(want) for want in left]
        while any(remaining):
            best = self._best(left, remaining)
            if best is None:
                break
            offer, room, packed = best
            count = min([self._most(offer), *(remaining[i] // n for i, n in packed.items())])
            room.count = max(1, count)
            for i, n in packed.items():
                remaining[i] -= n * room.count
            main = left[next(iter(packed))]
            self._launch(offer, room, f"{why} {_describe(main)}")
        for want, count in zip(left, remaining, strict=True):
            if count:
                self.unmet.append(f"{count} x {why} {_describe(want)}: {self._why_not(want)}")

    def add_group(self, group: PendingGroup, used: Iterable[Room] = ()) -> None:
        """Find room for a whole placement group, or for nothing of it.

        Args:
            group: what is asked for.
            used: rooms of nodes that hold other bundles of it.
        """
        used = list(used)
        unmet = len(self.unmet)
        for domain in self._domains(group, used):
            del self.unmet[unmet:]
            if self._add_group(group, used, domain):
                return

    def _domains(self, group: PendingGroup, used: list[Room]) -> list[LabelSelector]:
        """The conditions of which a group's nodes must all meet one; those that there are nodes for first."""
        label = group.topology
        if not label:
            return [()]
        offered = (room_of(offer.node_type, None) for offer in self._offers)
        rooms = used or (*self.rooms.rooms, *offered)
        values = dict.fromkeys(room.labels[label] for room in rooms if label in room.labels)
        found: list[LabelSelector] = [(LabelCondition(label, "in", (value,)),) for value in values]
        return found or [(LabelCondition(label, "exists"),)]

    def _add_group(self, group: PendingGroup, used: list[Room], domain: LabelSelector) -> bool:
        wants = [Want(want.resources, 1, (*want.selector, *domain)) for want in group.wants()]
        before = self.rooms.copy(), dict(self.launches), [offer.spare for offer in self._offers], self._spare
        reasons = {name: list(texts) for name, texts in self.reasons.items()}
        unmet = len(self.unmet)
        self._groups += 1
        for room in used:
            room.group = self._groups
        text = f"placement group {group.name} ({group.strategy}, {len(group.bundles)} bundles) waits for"
        match group.strategy:
            case "STRICT_PACK":
                done = bool(group.taken) or self._on_one(wants, text)
            case "STRICT_SPREAD":
                done = all(self._on_another(want, text) for want in sorted(wants, key=_weight, reverse=True))
            case _:
                self.add_wants(_counted(wants), text)
                done = len(self.unmet) == unmet
        if not done:
            self.rooms, self.launches, spares, self._spare = before
            self.reasons = reasons
            for offer, spare in zip(self._offers, spares, strict=True):
                offer.spare = spare
            problems = self.unmet[unmet:]
            self.unmet[unmet:] = problems[:1] or [f"{text} machines: no node type has room for it as a whole"]
        return done

    def _on_one(self, wants: list[Want], why: str) -> bool:
        bundles = [want.resources for want in wants]
        selector = tuple(dict.fromkeys(condition for want in wants for condition in want.selector))
        together = Want(total_of(bundles), 1, selector)
        for room in self.rooms.rooms:
            trial = room.copy(1)
            if matches(selector, room.labels) and all(trial.put(bundle) for bundle in bundles):
                part = self.rooms.take(room, 1)
                return all(part.put(bundle) for bundle in bundles)
        fitting: list[tuple[tuple[float, ...], Offer, Room]] = []
        for offer in self._entitled(together):
            room = room_of(offer.node_type, New(offer.node_type.name))
            if all(room.put(bundle) for bundle in bundles):
                fitting.append(((-_utilisation(offer.node_type, room), offer.order), offer, room))
        if not fitting:
            self.unmet.append(f"{why} one machine with {together.resources.describe()}: {self._why_not(together)}")
            return False
        _, offer, room = min(fitting, key=lambda one: one[0])
        self._launch(offer, room, f"{why} one machine with {together.resources.describe()}")
        return True

    def _on_another(self, want: Want, why: str) -> bool:
        bundle = want.resources
        for room in self.rooms.rooms:
            if room.group == self._groups or not matches(want.selector, room.labels):
                continue
            if room.capacity(bundle, 1):
                part = self.rooms.take(room, 1)
                part.put(bundle)
                part.group = self._groups
                return True
        best = self._best([want], [1])
        if best is None:
            self.unmet.append(f"{why} another machine with {bundle.describe()}: {self._why_not(want)}")
            return False
        offer, room, _ = best
        room.group = self._groups
        self._launch(offer, room, f"{why} another machine with {bundle.describe()}")
        return True

    def _best(self, wants: list[Want], remaining: list[int]) -> tuple[Offer, Room, dict[int, int]] | None:
        """The type whose next machine would be used best; that machine; and what it would hold, by index."""
        best: tuple[tuple[float, ...], Offer, Room, dict[int, int]] | None = None
        entitled = [
            {offer.order for offer in self._entitled(want)} if left else set[int]()
            for want, left in zip(wants, remaining, strict=True)
        ]
        for offer in self._offers:
            if not any(offer.order in orders for orders in entitled):
                continue
            room = room_of(offer.node_type, New(offer.node_type.name))
            packed: dict[int, int] = {}
            for i, want in enumerate(wants):
                if (
                    remaining[i]
                    and matches(want.selector, room.labels)
                    and (n := room.put(want.resources, remaining[i]))
                ):
                    packed[i] = n
            if not any(offer.order in entitled[i] for i in packed):
                continue
            # Machines with devices come first: others can use what is left of them, too.
            needed = any(wants[i].resources.has_accelerator() for i in packed)
            score = (needed, _utilisation(offer.node_type, room), sum(packed.values()), -offer.order)
            if best is None or score > best[0]:
                best = score, offer, room, packed
        return None if best is None else best[1:]

    def _entitled(self, want: Want) -> list[Offer]:
        """The types that may be launched for it: machines with devices only where it needs them or no other will do."""
        holding = self._holding(want)
        if not want.resources.has_accelerator() and any(not offer.has_accelerator() for offer in holding):
            holding = [offer for offer in holding if not offer.has_accelerator()]
        return [offer for offer in holding if offer.open and self._most(offer) > 0]

    def _holding(self, want: Want) -> list[Offer]:
        key = (want.resources, want.selector)
        if key not in self._could:
            self._could[key] = [offer for offer in self._offers if offer.could_hold(want)]
        return self._could[key]

    def _most(self, offer: Offer) -> int:
        return min(offer.spare, self._spare)

    def _launch(self, offer: Offer, room: Room, reason: str) -> None:
        name = offer.node_type.name
        offer.spare -= room.count
        self._spare -= room.count
        self.rooms.rooms.append(room)
        self.launches[name] = self.launches.get(name, 0) + room.count
        reasons = self.reasons.setdefault(name, [])
        if reason not in reasons:
            reasons.append(reason)

    def _why_not(self, want: Want) -> str:
        holding = self._holding(want)
        if not holding:
            return "no node type of the cluster has that"
        names = ", ".join(offer.node_type.name for offer in holding)
        if self._spare <= 0:
            return f"the cluster has as many machines as it may (max_workers); {names} would do"
        if any(offer.open for offer in holding):
            return f"there are as many of {names} as there may be (max_workers)"
        return f"launches of {names} fail at present, and are tried again later"


def _utilisation(node_type: NodeType, room: Room) -> float:
    """How much of a machine is used, on average over what it has; memory counts where it is used at all."""
    shares = [
        1.0 - room.available[kind] / units
        for kind, units in node_type.resources.amounts
        if kind not in BYTES or room.available[kind] != units
    ]
    return sum(shares) / len(shares) if shares else 0.0


def _weight(want: Want) -> tuple[bool, int, int]:
    shape = want.resources
    amounts = [units for kind, units in shape.amounts if kind not in BYTES]
    return shape.has_accelerator(), len(shape.amounts), sum(amounts)


def _counted(wants: Iterable[Want]) -> list[Want]:
    counts: dict[Want, int] = {}
    for want in wants:
        counts[want] = counts.get(want, 0) + 1
    return [Want(want.resources, count, want.selector) for want, count in counts.items()]


def _describe(want: Want) -> str:
    where = ", ".join(condition.describe() for condition in want.selector)
    return want.resources.describe() + (f" where {where}" if where else "")
