"""What happens to a node's store: the inputs of `StoreMachine`.

Processes and owners are named by their process ids, 32 hex digits.
"""

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened.

    What processes report may come late, twice, or not in the order it happened. What answers a command comes once.
    """


class GrantRequested(Event, frozen=True):
    """A process wants room for `size` bytes; if there is plenty, for `wish` bytes.

    `request` is unique for the process; the same request again gets the same answer.
    """

    process: str
    request: int
    size: int
    wish: int = 0


class GrantReturned(Event, frozen=True):
    """A process will not use part of its grant. `touched`: it may have written there."""

    process: str
    grant: int
    offset: int
    size: int
    touched: bool


class Sealed(Event, frozen=True):
    """A process has written an object. `primary`: it is not a copy of one on another node.

    `wanted`: of a copy, that somebody is about to read it.
    """

    process: str
    grant: int
    object_id: bytes
    owner: str
    offset: int
    size: int
    primary: bool = True
    wanted: bool = False


class Freed(Event, frozen=True):
    """An object is not needed any more: the copy at `offset`, or (None) every copy here. May overtake `Sealed`."""

    object_id: bytes
    offset: int | None = None


class Promoted(Event, frozen=True):
    """The copy that was written at `offset` must not be lost from now on: those on other nodes are."""

    object_id: bytes
    offset: int


class ProcessLost(Event, frozen=True):
    """A process of this node has ended: its grants and the objects it owned are nobody's."""

    process: str


class OwnerLost(Event, frozen=True):
    """A process of any node has ended: the objects it owned are nobody's."""

    owner: str


class FoundObject(msgspec.Struct, frozen=True):
    """A sealed object that a scan found."""

    object_id: bytes
    owner: str
    offset: int
    size: int


class Disowned(Event, frozen=True):
    """An owner's answer to `AskOwner`: it does not know, and will not hear, of these copies."""

    keys: tuple[int, ...]


class Scanned(msgspec.Struct, frozen=True):
    """What a lost process had sealed in a grant without having said so."""

    process: str
    grant: int
    objects: tuple[FoundObject, ...]


class ReclaimResult(Event, frozen=True):
    """Whether the object's memory could be taken back; no: somebody reads it."""

    key: int
    ok: bool


class Punched(Event, frozen=True):
    """The memory of a range was given back to the kernel; `error`: it was not."""

    offset: int
    size: int
    error: str = ""


class SpillDone(Event, frozen=True):
    """An object was copied to `url`, or (`error`) not."""

    key: int
    url: str
    error: str = ""


class LocateRequested(Event, frozen=True):
    """A reader wants to know where an object is in memory, and to have it brought there."""

    request: int
    object_id: bytes


class RestoreDone(Event, frozen=True):
    """An object was copied back into memory, or (`error`) not; `lost`: nor will it ever be."""

    key: int
    error: str = ""
    lost: bool = True


class Tick(Event, frozen=True):
    """Time has passed; see `StoreMachine.wake_at`."""


AnyEvent = (
    GrantRequested
    | GrantReturned
    | Sealed
    | Freed
    | Promoted
    | ProcessLost
    | OwnerLost
    | Disowned
    | Scanned
    | ReclaimResult
    | Punched
    | SpillDone
    | LocateRequested
    | RestoreDone
    | Tick
)
