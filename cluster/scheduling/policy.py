"""Which node: one decision from a view of the cluster. Pure but for the view's random samples."""

from collections.abc import Callable

import msgspec

from .cluster_view import ClusterView, Node
from .explanation import why_never, why_waiting
from .labels import LabelSelector
from .resources import ResourceSet
from .shape_index import ShapeIndex
from .strategy import HYBRID, InBundle, LeaseSpec, NodeAffinity, NodeLabels, Spread


class Chosen(msgspec.Struct, frozen=True):
    """Run it on this node. `queue`: it is to wait there for room, for no other node will do."""

    node_id: str
    queue: bool = False


class Wait(msgspec.Struct, frozen=True):
    """No node has room now."""


class Never(msgspec.Struct, frozen=True):
    """No node can hold it. `fatal`: nor will a new node change that. `kind`: "group" where its group is gone.

    `why` says why, for people: only when somebody is told, for finding the words means looking at all nodes.
    """

    why: Callable[[], str]
    fatal: bool = False
    kind: str = ""

    @property
    def text(self) -> str:
        """Why, for people."""
        return self.why()


Verdict = Chosen | Wait | Never
WAIT = Wait()


class Policy:
    """The scheduling strategies.

    Args:
        view: what is known of the nodes.
        threshold: nodes less busy than this (0 to 1) are packed; busier ones are filled evenly.
    """

    def __init__(self, view: ClusterView, threshold: float = 0.5) -> None:
        self._view = view
        self._threshold = threshold

    def decide(self, spec: LeaseSpec, home: str | None = None, locality: tuple[tuple[str, int], ...] = ()) -> Verdict:
        """Choose a node for one lease.

        Args:
            spec: what is asked for.
            home: the caller's node, preferred among equals.
            locality: (node id, bytes of arguments there), largest first; counts for the default strategy only.
        """
        match spec.strategy:
            case InBundle():
                return self._in_bundle(spec, spec.strategy)
            case NodeAffinity():
                return self._affinity(spec, spec.strategy, home)
            case NodeLabels(soft=soft) if soft:
                preferred = self._view.shape(spec.resources, spec.required_labels() + soft)
                verdict = self._hybrid(preferred, home) if len(preferred.feasible) else WAIT
                if isinstance(verdict, Chosen):
                    return verdict
            case _:
                pass
        best: Verdict = Never(lambda: why_never(self._view, spec))
        for selector in spec.alternatives():
            verdict = self._anywhere(spec, selector, home, locality)
            if isinstance(verdict, Chosen):
                return verdict
            best = verdict if isinstance(best, Never) else best
        return best

    def _anywhere(
        self, spec: LeaseSpec, selector: LabelSelector, home: str | None, locality: tuple[tuple[str, int], ...]
    ) -> Verdict:
        """A node whose labels meet one set of conditions."""
        index = self._view.shape(spec.resources, selector)
        if not index.feasible.nodes:
            return Never(lambda: why_never(self._view, spec))
        if isinstance(spec.strategy, Spread):
            node = index.next_in_turn()
            return WAIT if node is None else Chosen(node.node_id)
        if spec.strategy is HYBRID or spec.strategy == HYBRID:
            for node_id, _ in locality:
                node = self._view.nodes.get(node_id)
                if node is not None and node in index.feasible and node.fits(spec.resources):
                    return Chosen(node_id)
        return self._hybrid(index, home)

    def in_reach(self, spec: LeaseSpec) -> bool:
        """Whether it comes to its turn when enough tasks have ended, though actors and placement groups stay."""
        strategy = spec.strategy
        if isinstance(strategy, InBundle):
            group = self._view.bundles.get(strategy.group_id, {})
            bundles = (bundle for index, (_, bundle) in group.items() if strategy.bundle_index in {-1, index})
            return any(spec.resources.fits(bundle.reachable()) for bundle in bundles)
        if isinstance(strategy, NodeAffinity) and not (strategy.soft and strategy.spill_on_unavailable):
            node = self._view.nodes.get(strategy.node_id)
            if node is not None and node.holds(spec.resources):
                return node.reaches(spec.resources)
        indexes = [self._view.shape(spec.resources, selector) for selector in spec.alternatives()]
        return any(node.reaches(spec.resources) for index in indexes for node in index.feasible.nodes)

    def feasible(self, spec: LeaseSpec) -> ShapeIndex:
        """The nodes that could hold it: those that meet the first of its conditions that any node meets."""
        indexes = [self._view.shape(spec.resources, selector) for selector in spec.alternatives()]
        return next((index for index in indexes if index.feasible.nodes), indexes[0])

    def _hybrid(self, index: ShapeIndex, home: str | None) -> Verdict:
        nodes = index.sample()
        at_home = self._view.nodes.get(home) if home is not None else None
        if at_home is not None and at_home in index.feasible and at_home.fits(index.request) and at_home not in nodes:
            nodes.append(at_home)
        if not nodes:
            return WAIT
        wants_devices = index.request.has_accelerator()
        return Chosen(min(nodes, key=lambda node: self._score(node, home, wants_devices)).node_id)

    def _score(self, node: Node, home: str | None, wants_devices: bool) -> tuple[float, ...]:
        """Lower is better: spare nodes with devices for those who want them, then home and packed, or evenly filled."""
        wasteful = node.has_accelerator and not wants_devices
        if node.busy < self._threshold:
            return (0, wasteful, node.node_id != home, -node.busy)
        return (1, wasteful, node.busy, node.node_id != home)

    def _affinity(self, spec: LeaseSpec, strategy: NodeAffinity, home: str | None) -> Verdict:
        node = self._view.nodes.get(strategy.node_id)
        index = self._view.shape(spec.resources, spec.label_selector)
        if node is not None and node in index.feasible:
            if node.fits(spec.resources):
                return Chosen(node.node_id)
            if strategy.soft and strategy.spill_on_unavailable:
                return self._hybrid(index, home)
            if strategy.fail_on_unavailable:
                return Never(
                    lambda: f"Node {strategy.node_id} has no {spec.resources.describe()} free now.", fatal=True
                )
            return Chosen(node.node_id, queue=True)
        if strategy.soft:
            return self._hybrid(index, home) if index.feasible.nodes else Never(lambda: why_never(self._view, spec))
        if node is None:
            return Never(
                lambda: f"Node {strategy.node_id} is not in the cluster (any more), and no other may be used.",
                fatal=True,
            )
        why = "it is draining" if node.draining else f"it has {_describe(node.total)} and labels {node.labels}"
        return Never(lambda: f"Node {node.node_id} cannot hold {spec.resources.describe()}: {why}.", fatal=True)

    def _in_bundle(self, spec: LeaseSpec, strategy: InBundle) -> Verdict:
        standing = self._view.groups.get(strategy.group_id)
        if standing is None:
            return Never(lambda: f"its placement group {strategy.group_id.hex()} was removed", fatal=True, kind="group")
        group = self._view.bundles.get(strategy.group_id, {})
        indexes = sorted(group) if strategy.bundle_index < 0 else [strategy.bundle_index]
        wanted = [group[index] for index in indexes if index in group and not self._leaves(group[index][0])]
        if standing.infeasible and not group:
            return Never(lambda: why_waiting(self._view, spec, 0.0))
        holding = [(node_id, bundle) for node_id, bundle in wanted if spec.resources.fits(bundle.total.units())]
        if wanted and not holding and (strategy.bundle_index != -1):
            have = wanted[0][1].total.describe()
            return Never(
                lambda: f"Bundle {strategy.bundle_index} has {have}, never {spec.resources.describe()}.", fatal=True
            )
        for node_id, bundle in holding:
            if spec.resources.fits(bundle.available):
                return Chosen(node_id)
        return Chosen(holding[0][0], queue=True) if len({node_id for node_id, _ in holding}) == 1 else WAIT

    def _leaves(self, node_id: str) -> bool:
        node = self._view.nodes.get(node_id)
        return node is None or node.draining


def _describe(units: dict[str, int]) -> str:
    return ResourceSet.of_units(units).describe()
