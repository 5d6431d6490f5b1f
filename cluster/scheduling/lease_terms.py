"""Between the plain data in which callers say what they need and the scheduler's own types."""

from typing import Any

from ...actors.contract import LeaseSpec as WireSpec
from .labels import LabelCondition, LabelSelector, Operator, parse_selector
from .resources import ResourceSet
from .strategy import HYBRID, InBundle, LeaseSpec, NodeAffinity, NodeLabels, Spread, Strategy


def lease_spec(wire: WireSpec) -> LeaseSpec:
    """A caller's spec as the scheduler has it."""
    return LeaseSpec(
        ResourceSet.of_units(wire.resources),
        strategy(wire.strategy),
        parse_selector(wire.labels),
        wire.environment,
        wire.job_id,
        wire.retriable,
        tuple(parse_selector(selector) for selector in wire.strategy.get("fallback", ())),
    )


def strategy(plain: dict[str, Any]) -> Strategy:
    """A scheduling strategy from plain data."""
    match plain.get("kind"):
        case "node":
            return NodeAffinity(plain["node_id"], plain["soft"], plain["spill"], plain["fail"])
        case "group":
            return InBundle(bytes.fromhex(plain["group"]), plain["bundle"], plain["capture"])
        case "labels":
            return NodeLabels(_conditions(plain["hard"]), _conditions(plain["soft"]))
        case "spread":
            return Spread()
        case _:
            return HYBRID


def _conditions(plain: dict[str, list[str]]) -> LabelSelector:
    return tuple(LabelCondition(label, _OPERATORS[kind], tuple(values)) for label, (kind, *values) in plain.items())


_OPERATORS: dict[str, Operator] = {
    "In": "in",
    "NotIn": "not_in",
    "Exists": "exists",
    "DoesNotExist": "does_not_exist",
}
