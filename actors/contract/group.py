"""Calls about placement groups."""

import msgspec

from .body import Body


class CreateGroup(Body, frozen=True):
    """To the head: reserve a placement group. Answered at once: with an empty body, or the encoded error of a refusal.

    `owner` is the process with which a group that is not detached ends; "": the driver of the job. `selectors` are
    label selectors for the nodes of the bundles, none or one for each; `target` is the node that is preferred;
    `topology` is the label that all nodes of the group must have with one value.
    """

    group_id: bytes
    bundles: list[dict[str, int]]
    strategy: str
    name: str
    namespace: str
    detached: bool
    job_id: bytes
    owner: str
    selectors: list[dict[str, str]] = msgspec.field(default_factory=list[dict[str, str]])
    target: str = ""
    topology: str = ""


class AwaitGroup(Body, frozen=True):
    """To the head. Answered when the group is reserved (with an empty body), or is gone (an encoded error)."""

    group_id: bytes


class RemoveGroup(Body, frozen=True):
    """To the head: give a placement group's resources back. Answered (with an empty body) when it is done there."""

    group_id: bytes


class FindGroup(Body, frozen=True):
    """To the head: a placement group by name. Answered with `GroupFound`."""

    name: str
    namespace: str


class GroupFound(Body, frozen=True):
    """A placement group; the id is empty where there is none."""

    group_id: bytes = b""
    bundles: list[dict[str, int]] = msgspec.field(default_factory=list)


class GroupPending(Body, frozen=True):
    """To a core that awaits a group: it is not reserved and will not be soon; `problem` is for people.

    Once for each time that the group waits, and for each process that comes to wait meanwhile.
    """

    group_id: bytes
    name: str
    problem: str
