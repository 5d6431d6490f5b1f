"""The node's object store."""

from ...transport.address import ProcessAddress
from .body import Body
from .object import Location


class GrantMemory(Body, frozen=True):
    """To a node manager: a range of the arena to write objects to, of at least `size` bytes.

    Answered with `Granted`.
    """

    size: int


class Granted(Body, frozen=True):
    """Memory of the arena, the receiver's until it is sealed into objects or given back."""

    grant: int
    offset: int
    size: int


class ReturnMemory(Body, frozen=True):
    """To a node manager: granted memory that was not used. `touched`: it may have been written to."""

    grant: int
    offset: int
    size: int
    touched: bool


class SealedObject(Body, frozen=True):
    """An object that lies complete in the arena. `owner_address`: where its owner is, unless that is the sender."""

    object_id: bytes
    owner: str
    grant: int
    offset: int
    size: int
    owner_address: ProcessAddress | None = None


class ObjectsSealed(Body, frozen=True):
    """To a node manager: these objects are complete."""

    objects: list[SealedObject]


class WrittenCopy(Body, frozen=True):
    """A copy of an object that a lost process has written. `key`: the node manager's name for it."""

    key: int
    object_id: bytes
    offset: int


class WriterLost(Body, frozen=True):
    """To an owner's core, from a node manager: a process has ended that wrote these objects for the receiver.

    Its replies may have been lost with it. Answered with the keys of the copies that the receiver has not heard of, as
    soon as it cannot hear of them any more.
    """

    process_id: str
    node_id: bytes
    copies: list[WrittenCopy]


class ReclaimMemory(Body, frozen=True):
    """To a core: give back granted memory that is not used; the store is full."""


class TellSealed(Body, frozen=True):
    """To a core, from its node manager: tell of all objects that are complete, somebody asks for one. Then answer."""


class ObjectFreed(Body, frozen=True):
    """To the own node manager, from the owner: the copy that was written at `location`, on any node, is not needed."""

    object_id: bytes
    location: Location


class ObjectCopied(Body, frozen=True):
    """To an owner's core, from a node manager: there is a copy of the object in that place, too."""

    object_id: bytes
    location: Location


class KeepObject(Body, frozen=True):
    """To the own node manager, from the owner: the copy at `location` is the one that must not be lost from now on."""

    object_id: bytes
    location: Location


class LocateObject(Body, frozen=True):
    """To a node manager: where is the object now? Restores it from disk, or copies it from another node.

    `hint` is where it was last; on the own node, it is not looked for elsewhere. Answered with a `Location` in the own
    arena, or with an empty body when no node has it that its owner knows of. Cancelled when the reader gives up.

    `keep`: from a node that leaves; the copy is the one that must not be lost from now on. A node that leaves, too,
    answers with an empty body.
    """

    object_id: bytes
    owner: ProcessAddress
    hint: Location
    keep: bool = False
