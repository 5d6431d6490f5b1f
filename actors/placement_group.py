"""Placement groups: bundles of resources that are reserved together, all or none.

    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    get(group.ready())
    work.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote()

Public as `limelight.util.placement_group`, which is, as in Ray, both this module and the function of that name.
"""

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Self, cast

from . import runtime
from .identifier import PlacementGroupID
from .ids import NODE_ID_LABEL
from .object_ref import ObjectRef
from .option_rule import label_selector_problem
from .scheduling_strategy import is_node_id

VALID_PLACEMENT_GROUP_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


class PlacementGroup:
    """A handle to a placement group. Can be passed to tasks; thread-safe.

    Args:
        id: the group's id.
        bundle_cache: its bundles, where they are known; otherwise they are looked up when they are asked for.
    """

    __slots__ = ("_bundles", "id")

    def __init__(self, id: PlacementGroupID, bundle_cache: list[dict[str, float]] | None = None) -> None:  # noqa: A002  # Ray's name
        self.id = id
        self._bundles = bundle_cache

    @classmethod
    def empty(cls) -> Self:
        """The handle that stands for no group."""
        return cls(PlacementGroupID.nil())

    @property
    def is_empty(self) -> bool:
        """Whether it stands for no group."""
        return self.id.is_nil()

    def ready(self) -> "ObjectRef[PlacementGroup]":
        """A ref to this handle that becomes ready when all bundles are reserved.

        `get` of it raises TaskPlacementGroupRemoved when the group is removed before (or was).
        """
        return runtime.current().placement_group_ready(self.id.binary(), self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until all bundles are reserved; False when that takes longer than `timeout_seconds`.

        Raises:
            TaskPlacementGroupRemoved: the group was removed.
        """
        current = runtime.current()
        ref = self.ready()
        done, _ = current.wait([ref], 1, timeout_seconds, True)
        if done:
            current.get(done, None)
        return bool(done)

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle reserves, by resource."""
        if self._bundles is None:
            self._bundles = [] if self.is_empty else list(placement_group_table(self)["bundles"].values())
        return [dict(bundle) for bundle in self._bundles]

    @property
    def bundle_count(self) -> int:
        """How many bundles it has."""
        return len(self.bundle_specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self._bundles)


def placement_group(
    bundles: Sequence[Mapping[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Have bundles of resources reserved; returns at once, see `PlacementGroup.ready`.

    A group that no node can hold waits until one can; `placement_group_table` says for what.

    Args:
        bundles: what each bundle reserves: `[{"CPU": 1, "GPU": 0.5}, {"memory": 2e9}]`. A bundle lies on one node.
        strategy: "PACK" (few nodes; the default), "SPREAD" (many), "STRICT_PACK" (one), "STRICT_SPREAD" (a node each).
        name: by which `get_placement_group` finds it in the namespace; "": none.
        lifetime: "detached": until it is removed; None: as long as its creator (the job, or the actor).
        _soft_target_node_id: with "STRICT_PACK": the node to be preferred, as long as it has room for all.
        bundle_label_selector: for each bundle, the labels that its node must have, as `label_selector=` of a task gives
            them; {}: any node will do.
        topology_strategy: in place of `strategy`: a strategy by label. That of "ray.io/node-id" is what `strategy` is
            else. For one other label it may be "STRICT_PACK": all bundles lie on nodes with the same value of it, such
            as those of one rack, also after the loss of a node.

    Raises:
        ValueError: an argument makes no sense, or the name is taken.
        TypeError: an amount is not a number.
    """
    strategy, topology = _topology(strategy, topology_strategy)
    checked = _checked(bundles)
    selectors = _selectors(bundle_label_selector, len(checked))
    strategy = strategy or "PACK"
    if strategy not in VALID_PLACEMENT_GROUP_STRATEGIES:
        known = ", ".join(VALID_PLACEMENT_GROUP_STRATEGIES)
        raise ValueError(f"Invalid placement group strategy {strategy!r}: use one of {known}.")
    if lifetime not in (None, "detached"):
        raise ValueError(f"lifetime of a placement group must be None or 'detached', not {lifetime!r}.")
    target = _target(_soft_target_node_id, strategy)
    group_id = runtime.current().create_placement_group(
        checked, strategy, name or "", lifetime, selectors, target, topology
    )
    return PlacementGroup(PlacementGroupID(group_id), checked)


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give the bundles back and end what runs in them. No effect on a group that was removed already.

    Tasks in it fail with TaskPlacementGroupRemoved, actors' calls with ActorPlacementGroupRemoved.
    """
    runtime.current().remove_placement_group(placement_group.id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name in this job's namespace.

    Raises:
        ValueError: there is none.
    """
    if not placement_group_name:
        raise ValueError("get_placement_group() needs the name that the group was made with.")
    group_id, bundles = runtime.current().get_placement_group(placement_group_name)
    return PlacementGroup(PlacementGroupID(group_id), bundles)


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the calling task or actor runs in; None outside of groups."""
    group_id = runtime.current().context().placement_group_id
    return None if group_id is None else PlacementGroup(PlacementGroupID(group_id))


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """Facts about a group, or about all by id.

    Keys: placement_group_id, name, bundles and bundles_to_node_id (by index), strategy, state ("PENDING", "CREATED",
    "RESCHEDULING", "REMOVED"), stats (with "problem": why it is not reserved).

    Raises:
        ValueError: the group is not known (any more).
    """
    rows = {row["placement_group_id"]: row for row in runtime.current().state("placement_groups")}
    if placement_group is None:
        return rows
    row = rows.get(placement_group.id.hex())
    if row is None:
        raise ValueError(f"{placement_group} is not known: it was removed long ago, or belongs to another cluster.")
    return row


def _checked(bundles: Any) -> list[dict[str, float]]:
    example = 'such as [{"CPU": 1}, {"GPU": 1}]'
    if not isinstance(bundles, list | tuple):
        raise ValueError(  # noqa: TRY004  # as Ray
            f"The bundles of a placement group must be a list of dicts of resources, {example}; "
            f"{type(bundles).__name__} was given."
        )
    if not bundles:
        raise ValueError(f"A placement group needs at least one bundle, {example}.")
    checked: list[dict[str, float]] = []
    for index, bundle in enumerate(cast("Sequence[Any]", bundles)):
        if not isinstance(bundle, Mapping):
            raise ValueError(  # noqa: TRY004  # as Ray
                f"The bundles of a placement group must be dicts of resources, {example}; bundle {index} is {bundle!r}."
            )
        amounts = _amounts(index, cast("Mapping[Any, Any]", bundle))
        if not any(amounts.values()):
            raise ValueError(f"Bundle {index} of the placement group asks for nothing ({bundle!r}): give an amount.")
        checked.append({kind: amount for kind, amount in amounts.items() if amount})
    return checked


def _selectors(given: Any, bundles: int) -> list[dict[str, str]]:
    """Label selectors for the bundles, checked; [] where none was given."""
    if given is None:
        return []
    if not isinstance(given, list):
        raise ValueError(  # noqa: TRY004  # as Ray
            f"bundle_label_selector must be a list of dicts, one for each bundle; {type(given).__name__} was given."
        )
    selectors = cast("list[Any]", given)
    if len(selectors) != bundles:
        raise ValueError(
            f"bundle_label_selector has {len(selectors)} selectors for {bundles} bundles: give one for each, {{}} "
            "where any node will do."
        )
    for index, selector in enumerate(selectors):
        if not isinstance(selector, dict):
            raise TypeError(f"bundle_label_selector[{index}] must be a dict of labels, not {selector!r}.")
        if problem := label_selector_problem(cast("dict[Any, Any]", selector)):
            raise ValueError(f"bundle_label_selector[{index}]: {problem}.")
    return cast("list[dict[str, str]]", selectors)


def _topology(strategy: str | None, given: Any) -> tuple[str | None, str]:
    """The strategy of nodes, and the label of which all nodes must have one value; "": none."""
    if given is None:
        return strategy, ""
    example = f'such as {{"rack": "STRICT_PACK", "{NODE_ID_LABEL}": "SPREAD"}}'
    if strategy is not None:
        raise ValueError(
            "placement_group() takes strategy or topology_strategy, not both: give the strategy of nodes as "
            f'topology_strategy={{"{NODE_ID_LABEL}": {strategy!r}, ...}}.'
        )
    if not isinstance(given, dict):
        raise ValueError(  # noqa: TRY004  # as Ray
            f"topology_strategy must be a dict from labels to strategies, {example}; {type(given).__name__} was given."
        )
    strategies = dict(cast("dict[Any, Any]", given))
    known = ", ".join(VALID_PLACEMENT_GROUP_STRATEGIES)
    for label, value in strategies.items():
        if not isinstance(label, str) or not label or label_selector_problem({label: ""}):
            raise ValueError(f"topology_strategy: {label!r} is no label; {example}.")
        if value not in VALID_PLACEMENT_GROUP_STRATEGIES:
            raise ValueError(f"topology_strategy[{label!r}]: {value!r} is no strategy: use one of {known}.")
    strategy = strategies.pop(NODE_ID_LABEL, None)
    if len(strategies) > 1:
        raise ValueError(
            f"topology_strategy may name one label besides {NODE_ID_LABEL!r}, "
            f"and names {', '.join(sorted(strategies))}."
        )
    for label, value in strategies.items():
        if value != "STRICT_PACK":
            raise ValueError(
                f"topology_strategy[{label!r}]: {value!r} is not supported; labels other than {NODE_ID_LABEL!r} "
                "take only 'STRICT_PACK'."
            )
        return strategy, label
    return strategy, ""


def _target(node_id: Any, strategy: str) -> str:
    if node_id is None:
        return ""
    if strategy != "STRICT_PACK":
        raise ValueError(f"_soft_target_node_id works only with strategy='STRICT_PACK', not {strategy!r}.")
    if not is_node_id(node_id):
        raise ValueError(f"_soft_target_node_id {node_id!r} is no node's id: see limelight.nodes().")
    return node_id


def _amounts(index: int, bundle: Mapping[Any, Any]) -> dict[str, float]:
    for kind, amount in bundle.items():
        if not isinstance(kind, str) or isinstance(amount, bool) or not isinstance(amount, int | float):
            raise TypeError(f"Bundle {index} must map names of resources to numbers, but has {kind!r}: {amount!r}.")
        if not 0 <= amount < float("inf"):
            raise ValueError(
                f"Bundle {index} asks for {amount} of {kind!r}: give a finite number that is not negative."
            )
    return {kind: float(amount) for kind, amount in bundle.items()}


class _PlacementGroupModule(ModuleType):
    """The module, which can be called like its function."""

    __call__ = staticmethod(placement_group)


sys.modules[__name__].__class__ = _PlacementGroupModule
