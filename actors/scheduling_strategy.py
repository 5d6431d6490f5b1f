"""Where tasks and actors may run, given as `scheduling_strategy=`; public as `limelight.util.scheduling_strategies`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from .ids import NODE_ID_SIZE

_NODE_ID = re.compile(rf"[0-9a-fA-F]{{{2 * NODE_ID_SIZE}}}")


def is_node_id(value: object) -> bool:
    """Whether that is how a node's id is written (hexadecimal)."""
    return isinstance(value, str) and _NODE_ID.fullmatch(value) is not None


class NodeAffinitySchedulingStrategy(msgspec.Struct, frozen=True):
    """Run on the node with this id (hexadecimal); when it is gone, fail, or with `soft` run on another."""

    node_id: str
    soft: bool
    _spill_on_unavailable: bool = False
    _fail_on_unavailable: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.node_id, str):
            raise TypeError(f"node_id must be a hexadecimal str (see limelight.nodes()), not {self.node_id!r}.")
        if not is_node_id(self.node_id):
            raise ValueError(f"node_id {self.node_id!r} is no node's id: see limelight.nodes() for those there are.")
        if self._spill_on_unavailable and not self.soft:
            raise ValueError("_spill_on_unavailable=True needs soft=True.")


class PlacementGroupSchedulingStrategy(msgspec.Struct, frozen=True):
    """Run in a placement group: in one of its bundles, or in any (-1); child tasks follow when they are captured."""

    placement_group: Any
    placement_group_bundle_index: int = -1
    placement_group_capture_child_tasks: bool | None = None

    def __post_init__(self) -> None:
        if not hasattr(getattr(self.placement_group, "id", None), "binary"):
            raise TypeError(
                f"placement_group must be what limelight.util.placement_group() returned, not {self.placement_group!r}."
            )


def check_bundle(name: str, resources: Mapping[str, float], bundles: Sequence[Mapping[str, float]], index: int) -> None:
    """Check that a task (or actor) could run in a placement group.

    Args:
        name: what is to run there, for the message.
        resources: what it needs.
        bundles: all that the group has; [] where that is not known.
        index: of the bundle that is meant; -1: any.

    Raises:
        ValueError: there is no such bundle, or it could never hold this.
    """
    if not bundles:
        return
    if not -1 <= index < len(bundles):
        raise ValueError(
            f"placement_group_bundle_index is {index}, but the group of {len(bundles)} bundles has 0 to "
            f"{len(bundles) - 1} (or -1 for any)."
        )
    candidates = bundles if index < 0 else [bundles[index]]
    needed = {kind: amount for kind, amount in resources.items() if amount}
    if not any(all(bundle.get(kind, 0) >= amount for kind, amount in needed.items()) for bundle in candidates):
        held = [dict(bundle) for bundle in candidates]
        raise ValueError(
            f"{name} needs {needed}, which no bundle it may use in its placement group can hold: {held}. Ask for less, "
            "or make the bundle larger."
        )


class _LabelMatch:
    """A condition on a node's label."""

    __slots__ = ("values",)

    def __init__(self, *values: str) -> None:
        if not all(isinstance(value, str) for value in values):
            raise TypeError(f"{type(self).__name__} takes label values, which are str; {values!r} were given.")
        self.values = list(values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.values == self.values

    def __hash__(self) -> int:
        return hash((type(self), *self.values))


class In(_LabelMatch):
    """The label has one of the values."""

    __slots__ = ()


class NotIn(_LabelMatch):
    """The label is absent or has none of the values."""

    __slots__ = ()


class Exists(_LabelMatch):
    """The node has the label, whatever its value."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()


class DoesNotExist(_LabelMatch):
    """The node does not have the label."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()


LabelMatch = In | NotIn | Exists | DoesNotExist


class NodeLabelSchedulingStrategy:
    """Run on a node whose labels meet all `hard` conditions, preferably one that meets the `soft` ones too."""

    __slots__ = ("hard", "soft")

    def __init__(self, hard: dict[str, LabelMatch], *, soft: dict[str, LabelMatch] | None = None) -> None:
        for side, conditions in (("hard", hard), ("soft", soft or {})):
            for label, match in conditions.items():
                if not isinstance(label, str) or not isinstance(match, _LabelMatch):
                    raise TypeError(
                        f"{side} maps labels (str) to In(...), NotIn(...), Exists() or DoesNotExist(); "
                        f"{label!r}: {match!r} was given."
                    )
        self.hard = hard
        self.soft = soft or {}

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (other.hard, other.soft) == (self.hard, self.soft)

    def __hash__(self) -> int:
        return hash((frozenset(self.hard.items()), frozenset(self.soft.items())))

    def __repr__(self) -> str:
        return f"NodeLabelSchedulingStrategy({self.hard!r}, soft={self.soft!r})"


SchedulingStrategy = (
    None
    | Literal["DEFAULT", "SPREAD"]
    | NodeAffinitySchedulingStrategy
    | PlacementGroupSchedulingStrategy
    | NodeLabelSchedulingStrategy
)
