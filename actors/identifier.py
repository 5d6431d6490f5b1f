"""Ids as objects, where Ray's API has them: `ref.task_id()`, `get_runtime_context().job_id`, `placement_group.id`."""

import os
from typing import Self

from . import ids


class Identifier:
    """Bytes of a fixed size; compares and hashes by them."""

    __slots__ = ("_binary",)
    SIZE = 0

    def __init__(self, binary: bytes) -> None:
        if len(binary) != self.SIZE:
            raise ValueError(f"A {type(self).__name__} has {self.SIZE} bytes; {len(binary)} were given.")
        self._binary = binary

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """The id that `hex()` shows as `text`."""
        return cls(bytes.fromhex(text))

    @classmethod
    def from_binary(cls, binary: bytes) -> Self:
        """The id of these bytes."""
        return cls(binary)

    @classmethod
    def from_random(cls) -> Self:
        """A new id."""
        return cls(os.urandom(cls.SIZE))

    @classmethod
    def nil(cls) -> Self:
        """The id of nothing: all bits set."""
        return cls(b"\xff" * cls.SIZE)

    @classmethod
    def size(cls) -> int:
        """Number of bytes."""
        return cls.SIZE

    def binary(self) -> bytes:
        """The bytes."""
        return self._binary

    def hex(self) -> str:
        """The bytes in hexadecimal."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """Whether this is the id of nothing."""
        return self._binary == b"\xff" * self.SIZE

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._binary == self._binary

    def __hash__(self) -> int:
        return hash(self._binary)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._binary.hex()})"

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._binary,)


class UniqueID(Identifier):
    """Any id of 28 bytes."""

    __slots__ = ()
    SIZE = 28


class FunctionID(UniqueID):
    """Id of a remote function."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """Id of an actor class."""

    __slots__ = ()


class JobID(Identifier):
    """Id of a job: one driver and all it started."""

    __slots__ = ()
    SIZE = ids.JOB_ID_SIZE


class ActorID(Identifier):
    """Id of an actor, the same through its restarts."""

    __slots__ = ()
    SIZE = ids.ACTOR_ID_SIZE


class TaskID(Identifier):
    """Id of a task or actor call."""

    __slots__ = ()
    SIZE = ids.TASK_ID_SIZE


class NodeID(Identifier):
    """Id of a node."""

    __slots__ = ()
    SIZE = ids.NODE_ID_SIZE


class WorkerID(Identifier):
    """Id of a process that runs tasks or drives them."""

    __slots__ = ()
    SIZE = 28


class PlacementGroupID(Identifier):
    """Id of a placement group."""

    __slots__ = ()
    SIZE = ids.PLACEMENT_GROUP_ID_SIZE
