"""What a node does about its pulls: the outputs of `PullMachine`, for the shell to carry out."""

import msgspec

from ...transport.address import ProcessAddress
from .event import Who


class Command(msgspec.Struct, frozen=True, gc=False):
    """Something to do."""


class Reserve(Command, frozen=True):
    """Ask the store for memory; answer `Granted` or `Refused`."""

    pull: int
    object_id: bytes
    owner: ProcessAddress
    size: int


class Find(Command, frozen=True):
    """Ask the owner for a source; answer `Found`. `avoid` are of no use to this node, `lost` of these to nobody."""

    pull: int
    question: int
    object_id: bytes
    owner: ProcessAddress
    avoid: tuple[bytes, ...]
    lost: tuple[bytes, ...]


class Prepare(Command, frozen=True):
    """Have a source bring the object into its memory; answer `Prepared` or `SourceFailed`."""

    pull: int
    node: bytes


class Fetch(Command, frozen=True):
    """Fetch a range; answer `Arrived` or `RangeFailed`."""

    pull: int
    index: int
    node: bytes


class Abort(Command, frozen=True):
    """Do not fetch a range any more, and do not answer."""

    pull: int
    index: int


class StartOver(Command, frozen=True):
    """Forget the ranges that are there: the others will be of another object of that name."""

    pull: int


class Finish(Command, frozen=True):
    """All ranges are there: it is a copy. `wanted`: somebody will read it who does not wait for it yet."""

    pull: int
    wanted: bool


class Drop(Command, frozen=True):
    """End a pull; answer nothing of it any more."""

    pull: int


class Answer(Command, frozen=True):
    """Tell who waits for an object that it is here, or (`message`) is not; `full`: for want of memory."""

    who: Who
    object_id: bytes
    message: str = ""
    full: bool = False


AnyCommand = Reserve | Find | Prepare | Fetch | Abort | StartOver | Finish | Drop | Answer
