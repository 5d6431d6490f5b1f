"""Identifiers: random bytes with Ray's sizes, hexadecimal for people.

An object's id is its task's id followed by a 4-byte little-endian index: 1, 2, ... for returns, and from `PUT_INDEX`
upwards for values put by that task. So an id tells which task made the object, without a table.
"""

import os
import struct
from itertools import count

JOB_ID_SIZE = 4
ACTOR_ID_SIZE = 16
TASK_ID_SIZE = 24
OBJECT_ID_SIZE = 28
NODE_ID_SIZE = 28
PLACEMENT_GROUP_ID_SIZE = 18

NODE_ID_LABEL = "ray.io/node-id"
"""Ray's name of the label that every node has of itself; in a `topology_strategy` it stands for the nodes."""

PUT_INDEX = 1 << 30
"""Objects made by `put` are numbered from here, so that they never meet a return's index."""

_index = struct.Struct("<I")


class IdSource:
    """Makes ids that are unique across the cluster: 16 random bytes of this process and a counter.

    Thread-safe. A forked process must make its own.
    """

    def __init__(self) -> None:
        self._prefix = os.urandom(16)
        self._counter = count(1)

    def task_id(self) -> bytes:
        """A new task id (24 bytes)."""
        return self._prefix + next(self._counter).to_bytes(8, "little")


def object_id(task_id: bytes, index: int) -> bytes:
    """The id of the object with that index among those the task makes."""
    return task_id + _index.pack(index)


def task_of(object_id: bytes) -> bytes:
    """The id of the task that made the object."""
    return object_id[:TASK_ID_SIZE]


def index_of(object_id: bytes) -> int:
    """The index of the object among those of its task."""
    (index,) = _index.unpack_from(object_id, TASK_ID_SIZE)
    return index


def placement_group_id() -> bytes:
    """A new placement group's id (18 random bytes)."""
    return os.urandom(PLACEMENT_GROUP_ID_SIZE)


def actor_id() -> bytes:
    """A new actor id (16 random bytes)."""
    return os.urandom(ACTOR_ID_SIZE)
