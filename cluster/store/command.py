"""What a node's store decides: the outputs of `StoreMachine`, for the shell to carry out."""

import msgspec


class Command(msgspec.Struct, frozen=True, gc=False):
    """Something to do."""


class GrantReady(Command, frozen=True):
    """Answer a request: the process may write this range."""

    process: str
    request: int
    grant: int
    offset: int
    size: int


class GrantFailed(Command, frozen=True):
    """Answer a request: there is no room, and why."""

    process: str
    request: int
    message: str


class AskReturn(Command, frozen=True):
    """Ask a process to give back what it has not used of a grant."""

    process: str
    grant: int


class MadeCopy(Command, frozen=True):
    """A copy that a process made for another one, its owner."""

    key: int
    object_id: bytes
    home: int


class AskOwner(msgspec.Struct, frozen=True):
    """Ask an owner which of these copies it knows, as their maker was lost; answer `Disowned` with the others."""

    owner: str
    process: str
    copies: tuple[MadeCopy, ...]


class TellDropped(Command, frozen=True):
    """Tell an owner that a secondary copy of its object, written at `home`, had to make room."""

    object_id: bytes
    owner: str
    home: int
    size: int


class Scan(msgspec.Struct, frozen=True):
    """Look through what a lost process left in these ranges (offset, size) of its grant; answer `Scanned`."""

    process: str
    grant: int
    ranges: tuple[tuple[int, int], ...]


class Reclaim(Command, frozen=True):
    """Clear the object if nobody reads it; answer `ReclaimResult`."""

    key: int
    offset: int
    size: int


class Punch(Command, frozen=True):
    """Give the range's memory back to the kernel; answer `Punched`."""

    offset: int
    size: int


class Spill(Command, frozen=True):
    """Copy the object to the spill storage; answer `SpillDone`."""

    key: int
    object_id: bytes
    offset: int
    size: int


class Restore(Command, frozen=True):
    """Copy the object from the spill storage to `offset`; answer `RestoreDone`."""

    key: int
    object_id: bytes
    url: str
    offset: int
    size: int


class DeleteSpilled(Command, frozen=True):
    """Delete the copy in the spill storage."""

    url: str


class Located(Command, frozen=True):
    """Answer a locate request: the object is in memory."""

    request: int
    offset: int
    size: int


class LocateFailed(Command, frozen=True):
    """Answer a locate request: the object is not to be had here. `full`: for want of memory."""

    request: int
    message: str
    full: bool = False


AnyCommand = (
    GrantReady
    | GrantFailed
    | AskReturn
    | AskOwner
    | TellDropped
    | Scan
    | Reclaim
    | Punch
    | Spill
    | Restore
    | DeleteSpilled
    | Located
    | LocateFailed
)
