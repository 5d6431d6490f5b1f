"""What a caller may say about where its tasks and actors run."""

import msgspec

from .labels import LabelSelector
from .resources import EMPTY, ResourceSet


class Hybrid(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="hybrid"):
    """The default: here until the node is half busy, then pack nodes up to a half, then the least busy node."""


class Spread(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="spread"):
    """One node after the other, as long as they have room."""


class NodeAffinity(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="node"):
    """A particular node.

    Attributes:
        soft: if the node is gone or can never hold the request, any node serves.
        spill_on_unavailable: with `soft`, any node also serves while the node is merely full.
        fail_on_unavailable: fail at once, rather than wait, while the node is full.
    """

    node_id: str
    soft: bool = False
    spill_on_unavailable: bool = False
    fail_on_unavailable: bool = False


class NodeLabels(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="labels"):
    """Nodes that meet `hard`; of those, nodes that meet `soft` where there is one with room."""

    hard: LabelSelector = ()
    soft: LabelSelector = ()


class InBundle(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="bundle"):
    """Inside a placement group's bundle; index -1 is any of its bundles. `capture`: what it starts follows it there."""

    group_id: bytes
    bundle_index: int = -1
    capture: bool = False


Strategy = Hybrid | Spread | NodeAffinity | NodeLabels | InBundle
HYBRID = Hybrid()


class LeaseSpec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What tasks of one scheduling class need of a worker; hashable.

    Attributes:
        resources: held while a task runs (or an actor lives).
        strategy: where.
        label_selector: conditions on the node's labels, beside the strategy.
        env_key: names the runtime environment; workers are reused only within one.
        job_id: workers are reused only within one job.
        fallback: what to ask of the labels instead, in this order, where no node that meets `label_selector` has room.
        retriable: what runs there runs again should its worker end: the first to be stopped when memory runs out.
    """

    resources: ResourceSet = EMPTY
    strategy: Strategy = HYBRID
    label_selector: LabelSelector = ()
    env_key: str = ""
    job_id: bytes = b""
    retriable: bool = True
    fallback: tuple[LabelSelector, ...] = ()

    def required_labels(self) -> LabelSelector:
        """All conditions that a node must meet."""
        return (
            self.label_selector + self.strategy.hard if isinstance(self.strategy, NodeLabels) else self.label_selector
        )

    def alternatives(self) -> tuple[LabelSelector, ...]:
        """Sets of conditions of which a node must meet one, the best first."""
        hard = self.strategy.hard if isinstance(self.strategy, NodeLabels) else ()
        return (self.label_selector + hard, *(selector + hard for selector in self.fallback))


def serves_anywhere(spec: LeaseSpec) -> bool:
    """Whether a node that there is not yet could serve it: not where it must be on a certain one."""
    strategy = spec.strategy
    return not isinstance(strategy, InBundle) and not (isinstance(strategy, NodeAffinity) and not strategy.soft)
