"""The words for those who wait for room: what is asked for, what the cluster has, what of it is in use, what to do."""

from typing import TYPE_CHECKING

from .resources import ResourceSet, describe_amount, total_of
from .strategy import InBundle, LeaseSpec, NodeAffinity

if TYPE_CHECKING:
    from .cluster_view import ClusterView
    from .group_table import GroupSpec

WARN_AFTER = 10.0
"""Seconds after which waiting for room is worth a warning, where room could come free."""

_RELIEF = (
    "End actors and remove placement groups that are not needed any more (until then they hold what they have), ask "
    "for less, or add a node."
)


def why_never(view: "ClusterView", spec: LeaseSpec) -> str:
    """Why no node can hold it as the cluster is. Looks at all nodes; a puzzled user takes longer."""
    asked = spec.resources.describe()
    if not view.nodes:
        return f"{asked} is asked for, and the cluster has no node yet."
    alternatives = spec.alternatives()
    if not any(view.shape(ResourceSet(), selector).feasible.nodes for selector in alternatives):
        conditions = "; or ".join(", ".join(one.describe() for one in selector) for selector in alternatives)
        return f"{asked} is asked for, on a node whose labels meet: {conditions}. No node's labels do. Add such a node."
    stock = view.stock.of(kind for kind, _ in spec.resources.amounts)
    most = {kind: amounts.most for kind, amounts in stock.items()}
    short = [kind for kind, units in spec.resources.amounts if most[kind] < units]
    if not short:
        return (
            f"{asked} is asked for; each is there, but no one node has all of them (with the labels asked for). "
            f"{_stock(view, spec.resources)} Add a node that has all, or ask for less."
        )
    listed = ", ".join(f"{kind} {describe_amount(kind, most[kind])}" for kind in short)
    return (
        f"{asked} is asked for; the most that any node has: {listed}. {_stock(view, spec.resources)} "
        "Add such a node, or ask for less."
    )


def why_waiting(view: "ClusterView", spec: LeaseSpec, seconds: float) -> str:
    """Why it has waited that long, although a node could hold it."""
    asked = spec.resources.describe()
    strategy = spec.strategy
    if isinstance(strategy, InBundle):
        return _why_waiting_in_group(view, spec, strategy, seconds)
    where = f" on node {strategy.node_id[:12]}" if isinstance(strategy, NodeAffinity) and not strategy.soft else ""
    return (
        f"{asked} is asked for{where} and has not come free in {seconds:.0f} s. "
        f"{_stock(view, spec.resources)} {_RELIEF}"
    )


def why_group_waits(view: "ClusterView", spec: "GroupSpec", *, feasible: bool) -> str:
    """Why a placement group is not reserved."""
    bundles, strategy = spec.bundles, spec.strategy
    where = ", with the labels asked for" if any(spec.selectors) else ""
    where += f", on nodes with one value of the label {spec.topology}" if spec.topology else ""
    total = total_of(bundles)
    if feasible:
        return (
            f"{total.describe()} is asked for (in {_count(len(bundles), 'bundle')}, {strategy}{where}) and has not "
            f"come free. {_stock(view, total)} {_RELIEF}"
        )
    return (
        f"no nodes can hold its {_count(len(bundles), 'bundle')} ({total.describe()} in all) as {strategy}{where}. "
        f"{_stock(view, total)} Add nodes that can, or ask for less."
    )


def _why_waiting_in_group(view: "ClusterView", spec: LeaseSpec, strategy: InBundle, seconds: float) -> str:
    group = strategy.group_id.hex()[:12]
    standing = view.groups.get(strategy.group_id)
    reserved = view.bundles.get(strategy.group_id, {})
    if standing is not None and standing.problem and not reserved:
        return f"its placement group {group} is not reserved: {standing.problem}"
    which = "its bundles" if strategy.bundle_index < 0 else f"its bundle {strategy.bundle_index}"
    return (
        f"{spec.resources.describe()} is asked for in placement group {group} and has not come free in {seconds:.0f} s:"
        f" {which} are taken by actors. End those that are not needed any more, or make a group with more bundles."
    )


def _stock(view: "ClusterView", asked: ResourceSet) -> str:
    """What the cluster has of the kinds that are asked for, and what of it is in use."""
    parts: list[str] = []
    for kind, (total, used, lasting, _) in view.stock.of(kind for kind, _ in asked.amounts).items():
        part = f"{kind} {describe_amount(kind, total)}"
        if used:
            part += f" ({describe_amount(kind, used)} in use"
            part += f", {describe_amount(kind, lasting)} of it by actors and placement groups)" if lasting else ")"
        parts.append(part)
    return f"The cluster has {', '.join(parts) or 'nodes'} on {_count(len(view.nodes), 'node')}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
