"""Objects on their way between nodes: who wants them, who has them."""

from ...transport.address import ProcessAddress
from .body import Body
from .object import Location


class WantedObject(Body, frozen=True):
    """An object that somebody will read, and where it was last."""

    object_id: bytes
    owner: ProcessAddress
    location: Location


class WantObjects(Body, frozen=True):
    """To the own node manager: the sender will read these; bring those that are on other nodes, if there is room.

    `soon`: a task that is here needs them, or a reader that waits for others first.
    """

    objects: list[WantedObject]
    soon: bool


class FindSource(Body, frozen=True):
    """To an owner's core, from a node that is about to copy an object: from which node?

    The owner takes it that the node does so, until it hears `ObjectCopied` or `PullEnded`. `avoid`: nodes that are of
    no use to the sender, `lost`: those of them that do not have the object. Answered with `SourceFound`.
    """

    object_id: bytes
    node_id: bytes
    avoid: tuple[bytes, ...] = ()
    lost: tuple[bytes, ...] = ()


class SourceFound(Body, frozen=True):
    """A node to copy an object from; b"" for none.

    `partial`: it is itself about to copy it, and passes on what it has. `size`: what the object takes in a store.
    """

    node_id: bytes = b""
    partial: bool = False
    size: int = 0


class PullEnded(Body, frozen=True):
    """To an owner's core: the node that asked for a source does not copy the object any more."""

    object_id: bytes
    node_id: bytes


class CopyDropped(Body, frozen=True):
    """To an owner's core, from a node manager: that copy had to make room for something else."""

    object_id: bytes
    location: Location
