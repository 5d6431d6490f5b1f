"""What the autoscaler hears (events) and says (commands).

Events about nodes, load and instances are absolute: each replaces what was known, so that a lost one is healed by the
next. Commands may be carried out late, twice or not at all: requests are known by their ids, and what has no effect is
said again.
"""

import msgspec

from ..provider.instance import Instance
from ..scheduling.group_table import GroupStrategy
from ..scheduling.labels import LabelCondition, LabelSelector
from ..scheduling.ledger import Shares
from ..scheduling.resources import ResourceSet


class Struct(msgspec.Struct, frozen=True):
    """Events, commands and values: frozen."""


class Want(Struct, frozen=True):
    """So many tasks or actors wait that need this each."""

    resources: ResourceSet
    count: int
    selector: LabelSelector = ()


class PendingGroup(Struct, frozen=True):
    """A placement group that is not reserved, or not in full.

    Attributes:
        name: for people.
        bundles: those without a node.
        taken: the nodes of the others.
        selectors: conditions on the node of each of `bundles`; empty: none.
        topology: the label that all nodes of the group must have with one value; "": none.
    """

    name: str
    bundles: tuple[ResourceSet, ...]
    strategy: GroupStrategy
    taken: tuple[str, ...] = ()
    selectors: tuple[LabelSelector, ...] = ()
    topology: str = ""

    def wants(self) -> list[Want]:
        """Each bundle without a node."""
        selectors = self.selectors or ((),) * len(self.bundles)
        labelled = (LabelCondition(self.topology, "exists"),) if self.topology else ()
        return [
            Want(bundle, 1, (*selector, *labelled)) for bundle, selector in zip(self.bundles, selectors, strict=True)
        ]


# Events


class NodeSeen(Struct, frozen=True, tag="node_seen"):
    """A node of the cluster, as it is now.

    Attributes:
        instance: the name of the instance it runs on, "" where no provider made it.
        available: units by kind that nobody uses.
        free: of accelerators, units by device.
        holds: what work it has, or objects that only it has, in words; "": it could go.
    """

    node_id: str
    instance: str
    total: ResourceSet
    available: dict[str, int]
    free: Shares
    labels: dict[str, str]
    holds: str = ""
    draining: bool = False
    is_head: bool = False


class NodeGone(Struct, frozen=True, tag="node_gone"):
    """A node is no more of the cluster."""

    node_id: str


class LoadSeen(Struct, frozen=True, tag="load_seen"):
    """All that waits. `floor`: what `request_resources` wants there to be room for, whatever else runs."""

    wants: tuple[Want, ...] = ()
    groups: tuple[PendingGroup, ...] = ()
    floor: tuple[Want, ...] = ()


class InstancesListed(Struct, frozen=True, tag="listed"):
    """All instances of the cluster's, as the provider had them at some time after `asked_at`."""

    instances: tuple[Instance, ...]
    asked_at: float


class LaunchAnswered(Struct, frozen=True, tag="answered"):
    """The provider's answer to a `Launch`: what it has made of it, and why it is not all (`error`)."""

    request_id: str
    instances: tuple[Instance, ...] = ()
    error: str = ""


class Decide(Struct, frozen=True, tag="decide"):
    """Look at everything and decide; about once a second."""


Event = NodeSeen | NodeGone | LoadSeen | InstancesListed | LaunchAnswered | Decide


# Commands


class Launch(Struct, frozen=True, tag="launch"):
    """Have the provider make instances of these names. Idempotent by name: one that exists is not made again."""

    request_id: str
    node_type: str
    names: tuple[str, ...]
    reason: str


class DrainNode(Struct, frozen=True, tag="drain"):
    """Have the node take no more work, unless it has some by now."""

    node_id: str
    reason: str


class Terminate(Struct, frozen=True, tag="terminate"):
    """Have the provider end these instances; their names are `names`, the provider's ids the keys."""

    names: dict[str, str]
    reason: str


Command = Launch | DrainNode | Terminate
