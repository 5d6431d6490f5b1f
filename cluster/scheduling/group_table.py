"""What the head remembers of placement groups, and what it hears and says about them."""

from typing import Literal

import msgspec

from .labels import LabelSelector
from .lease_message import ReserveCancel, ReserveCommit, Reserved, ReservePrepare
from .resources import ResourceSet

GroupStrategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]
GroupState = Literal["PENDING", "PREPARING", "CREATED", "RESCHEDULING", "REMOVED"]


class Struct(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events, commands and values: frozen, so never in a cycle, and nothing for the garbage collector to look at."""


class GroupSpec(Struct, frozen=True):
    """What is asked for; never changes.

    Attributes:
        owner: process id of its creator; a non-detached group ends with it.
        selectors: conditions on the labels of each bundle's node, in the order of the bundles; empty: none.
        target: the node to be preferred, where it has room for all; "": any.
        home: the owner's node; "" where that is not known.
        topology: the label that all its nodes must have with one value; "": none.
    """

    group_id: bytes
    bundles: tuple[ResourceSet, ...]
    strategy: GroupStrategy
    owner: str
    name: str = ""
    namespace: str = ""
    detached: bool = False
    selectors: tuple[LabelSelector, ...] = ()
    target: str = ""
    home: str = ""
    topology: str = ""


class GroupRecord(msgspec.Struct, array_like=True):
    """A group's row in the table.

    Attributes:
        attempt: numbers reservations; nodes ignore those of attempts that were given up.
        abandoned: the last attempt that was given up; 0: none was.
        nodes: bundle index -> node, of the bundles that are reserved and open.
        preparing: bundle index -> node, of the attempt under way.
        prepared: nodes that have answered yes to it.
        problem: why it cannot be reserved, for people.
    """

    spec: GroupSpec
    state: GroupState = "PENDING"
    attempt: int = 0
    nodes: dict[int, str] = {}
    preparing: dict[int, str] = {}
    prepared: list[str] = []
    problem: str = ""
    cause: str = ""
    abandoned: int = 0


class GroupTable(msgspec.Struct, array_like=True):
    """The whole state of the placement groups."""

    groups: dict[bytes, GroupRecord] = {}


class GroupView(Struct, frozen=True):
    """A group as others see it; `nodes` has "" for a bundle that is not reserved."""

    group_id: bytes
    name: str
    strategy: GroupStrategy
    state: GroupState
    bundles: tuple[ResourceSet, ...]
    nodes: tuple[str, ...]
    problem: str
    cause: str


def view_of(record: GroupRecord) -> GroupView:
    """The public part of a row."""
    spec = record.spec
    nodes = tuple(record.nodes.get(index, "") for index in range(len(spec.bundles)))
    return GroupView(
        spec.group_id, spec.name, spec.strategy, record.state, spec.bundles, nodes, record.problem, record.cause
    )


# Events


class CreateGroup(Struct, frozen=True, tag="create_group"):
    """Reserve a group. Idempotent by group id."""

    spec: GroupSpec


class RemoveGroup(Struct, frozen=True, tag="remove_group"):
    """Give the bundles back and end what runs in them."""

    group_id: bytes
    text: str = "it was removed"


class GroupFromNode(Struct, frozen=True, tag="group_from_node"):
    """A node's answer to a prepare."""

    node_id: str
    message: Reserved


class GroupNodeBack(Struct, frozen=True, tag="group_node_back"):
    """A node is back, or this head is: what was said last may not have arrived. `held`: groups it has bundles of."""

    node_id: str
    held: tuple[bytes, ...]


class GroupNodeLost(Struct, frozen=True, tag="group_node_lost"):
    """A node is gone, and the bundles on it."""

    node_id: str


class GroupOwnerLost(Struct, frozen=True, tag="group_owner_lost"):
    """A process is gone: its groups end, and it listens no more."""

    process_id: str
    text: str


class SubscribeGroup(Struct, frozen=True, tag="subscribe_group"):
    """Tell the process of the group's state, now and at every change."""

    process_id: str
    group_id: bytes


class PlaceGroups(Struct, frozen=True, tag="place_groups"):
    """Room may have come free, or time has passed: try again for those that wait."""


GroupEvent = (
    CreateGroup
    | RemoveGroup
    | GroupFromNode
    | GroupNodeBack
    | GroupNodeLost
    | GroupOwnerLost
    | SubscribeGroup
    | PlaceGroups
)


# Commands


class GroupCreated(Struct, frozen=True, tag="group_created"):
    """The answer to `CreateGroup`: it is registered, not yet reserved; or why not (`error`)."""

    process_id: str
    group_id: bytes
    view: GroupView | None
    error: str = ""


class GroupChanged(Struct, frozen=True, tag="group_changed"):
    """To a subscriber."""

    process_id: str
    view: GroupView


class GroupToNode(Struct, frozen=True, tag="group_to_node"):
    """Deliver this to the node's lease machine."""

    node_id: str
    event: ReservePrepare | ReserveCommit | ReserveCancel


class GroupOverdue(Struct, frozen=True, tag="group_overdue"):
    """A group is not reserved and will not be soon: whoever waits for it should know why. Once for each time."""

    group_id: bytes
    text: str


GroupCommand = GroupCreated | GroupChanged | GroupToNode | GroupOverdue
