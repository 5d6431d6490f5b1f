"""What happens to a node's pulls: the inputs of `PullMachine`.

A pull is named by its number, which is never used again, so that what is late finds nothing to act on.
"""

from enum import Enum, IntEnum

import msgspec

from ...transport.address import ProcessAddress

Who = tuple[str, int]
"""Who wants an object: a process, and the number of its request; 0 for what it wants ahead of asking for it."""


class Priority(IntEnum):
    """How urgently an object is wanted."""

    BLOCKED = 0
    """A reader waits for it."""
    ARGUMENT = 1
    """A task that is queued here will read it, or a reader that waits for others."""
    PREFETCH = 2
    """It may be read some day."""


class Fault(Enum):
    """What is wrong with a source."""

    ABSENT = "absent"
    """It does not have the object, or is gone."""
    CHANGED = "changed"
    """It has another object of that name."""
    BUSY = "busy"
    """It has the object, but no memory to bring it back from its disk."""
    CORRUPT = "corrupt"
    """What arrived is not what was sent."""
    BROKEN = "broken"
    """The connection broke, or could not be made."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened."""


class Wanted(Event, frozen=True):
    """Somebody wants an object. Again by the same: perhaps more urgently.

    `node` is where it was when `who` last heard of it, `size` is what it takes in a store.
    """

    object_id: bytes
    owner: ProcessAddress
    who: Who
    priority: Priority
    size: int
    node: bytes


class Unwanted(Event, frozen=True):
    """Somebody does not want it any more. `linger`: but may come back, as a reader does that has set a time limit."""

    object_id: bytes
    who: Who
    linger: bool = False


class ProcessLost(Event, frozen=True):
    """A process of this node wants nothing any more."""

    process: str


class PeersWait(Event, frozen=True):
    """So many nodes wait for ranges of it that are still to come."""

    pull: int
    count: int


class Granted(Event, frozen=True):
    """There is memory for it."""

    pull: int


class Refused(Event, frozen=True):
    """There is none, and why."""

    pull: int
    message: str


class Found(Event, frozen=True):
    """The owner's answer to a question: a node to fetch it from; b"" for none.

    `partial`: the object is still arriving there. `size`: what it takes in a store now.
    """

    pull: int
    question: int
    node: bytes
    partial: bool = False
    size: int = 0


class Prepared(Event, frozen=True):
    """The source has it in memory."""

    pull: int
    node: bytes


class SourceFailed(Event, frozen=True):
    """The source could not be prepared."""

    pull: int
    node: bytes
    fault: Fault
    message: str


class Arrived(Event, frozen=True):
    """A range is there, and right."""

    pull: int
    index: int


class RangeFailed(Event, frozen=True):
    """A range is not."""

    pull: int
    index: int
    fault: Fault
    message: str


class Tick(Event, frozen=True):
    """Time has passed; see `PullMachine.wake_at`."""


AnyEvent = (
    Wanted
    | Unwanted
    | ProcessLost
    | PeersWait
    | Granted
    | Refused
    | Found
    | Prepared
    | SourceFailed
    | Arrived
    | RangeFailed
    | Tick
)
