"""Objects: values as they travel, and who holds what."""

from ...transport.address import ProcessAddress
from .body import Body


class Location(Body, frozen=True):
    """Where an object's bytes lie: a range of one node's arena."""

    node_id: bytes
    offset: int
    size: int


class ExportedRef(Body, frozen=True):
    """A ref inside a value, as it crosses a process boundary.

    `giver`: the process that has had the owner count the receiver, where that is not the owner itself.
    """

    object_id: bytes
    owner: ProcessAddress
    giver: str = ""


class Value(Body, frozen=True):
    """A result, an argument or an object's content: inline bytes, or a location, or an error.

    `kind` is "i" (inline: `data` is the pickle), "s" (stored: `location` says where), "e" (error: `data` is a
    serialized
    error) or, of an argument, "r" (its owner has it). `contained` are the refs inside the value.
    """

    kind: str
    data: bytes = b""
    location: Location | None = None
    contained: tuple[ExportedRef, ...] = ()


class Dependency(Body, frozen=True):
    """An argument passed by ref.

    Its value, and the ref itself where the value may have moved by the time it is read.
    """

    value: Value
    ref: ExportedRef | None = None


class WaitObject(Body, frozen=True):
    """To an owner's core: answer with the object's `Value` when it is ready.

    `avoid` is a location that turned out to be empty.
    """

    object_id: bytes
    avoid: Location | None = None


class AdoptObject(Body, frozen=True):
    """To a core: own this object, which the sender has made and borrows from now on. Answered with an empty body."""

    object_id: bytes
    value: Value


class AddBorrower(Body, frozen=True):
    """To an owner's core: `borrower` holds the object now (`count` times more)."""

    object_id: bytes
    borrower: ProcessAddress
    count: int


class ReleaseBorrow(Body, frozen=True):
    """To an owner's core, from the borrower: it holds the object `count` times less.

    `taken`: how many of these it was handed by which other processes.
    """

    object_id: bytes
    count: int
    taken: tuple[tuple[str, int], ...] = ()


class AskTaken(Body, frozen=True):
    """To a borrower's core, from the owner, which has lost `giver`: how many refs of that has it taken over, and has?

    Answered with a number, once `giver` is lost to the borrower, too.
    """

    object_id: bytes
    giver: ProcessAddress
