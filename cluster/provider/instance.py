"""A machine as its provider sees it, and what is to be made of one."""

import re
from typing import Any, Literal

import msgspec

from ..scheduling.resources import EMPTY, ResourceSet

INSTANCE_LABEL = "limelight/instance"
"""The label by which a node says which instance it runs on: the instance's name."""

TYPE_LABEL = "limelight/node-type"
"""The label with the name of a node's type."""

InstanceState = Literal["starting", "running", "failed", "ending"]
Role = Literal["head", "worker"]

_name_pattern = re.compile(r"[a-z]([-a-z0-9]{0,28}[a-z0-9])?")


class Instance(msgspec.Struct, frozen=True):
    """One machine, or what stands for one.

    Attributes:
        name: chosen by whoever asked for it, unique in the cluster for all time; the node on it bears it as a label.
        instance_id: the provider's own name for it.
        node_type: what kind of machine was asked for.
        state: "starting" until its operating system (or process) runs; "failed" ones never will, and are still to be
            terminated where the provider keeps them; "ending" ones are on their way out.
        address: where it is reached, "" while that is not known.
        text: what the provider says of its state, for people.
        role: "head" for the machine that `cluster up` made the head's.
    """

    name: str
    instance_id: str
    node_type: str
    state: InstanceState
    address: str = ""
    text: str = ""
    role: Role = "worker"


class NodeType(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of machine.

    Attributes:
        name: lower-case letters, digits and '-', at most 30.
        resources: what one offers to the cluster.
        labels: what its node is labelled with.
        min_workers: how many there always are.
        max_workers: how many there may be.
        machine: what the provider needs to make one (image, flavour, pod, partition ...), as it documents.
    """

    name: str
    resources: ResourceSet = EMPTY
    labels: dict[str, str] = {}
    min_workers: int = 0
    max_workers: int = 0
    machine: dict[str, Any] = {}

    def node_labels(self, instance: str) -> dict[str, str]:
        """The labels that a node of this type on that instance must bear."""
        return {**self.labels, TYPE_LABEL: self.name, INSTANCE_LABEL: instance}


def check_name(name: str, what: str) -> str:
    """The name, if every provider can use it.

    Raises:
        ValueError: it cannot be part of a host's name.
    """
    if not _name_pattern.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name for {what}: it becomes part of machines' names, so use lower-case letters, digits "
            "and '-', at most 30, starting with a letter and not ending with '-'."
        )
    return name
