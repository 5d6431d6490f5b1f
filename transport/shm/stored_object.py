"""How one object lies in shared memory.

    0                     88               data (64-byte aligned)                      size (page aligned)
    | header              | part sizes u64 | part 0   | part 1   | ...                 |

Part 0 is the value's metadata (a pickle), the others are its out-of-band buffers, each 64-byte aligned. The header
names the object and its place, so that whoever finds it can tell whether it is what he looks for, and which grant it
was written under, so that remains of earlier tenants of the memory are not mistaken for it. Its first word is written
last. All numbers are little-endian.

The stamp in the header tells apart objects of the same id that were written twice, by a task that was run again: their
bytes may differ. Whoever copies an object copies its stamp.
"""

import struct
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from .memory_copy import Part, copy_part, part_size

WRITING = 0x31_57_4A_42_4F_4C_4C_01
SEALED = 0x31_53_4A_42_4F_4C_4C_01
ALIGNMENT = 64
PLACE = 24
"""Bytes at the front that are about this place: whether the object is complete, its grant, its offset.

Copies are made without them, and get their own; all else is the same in every copy.
"""

_word = struct.Struct("<Q")
_header = struct.Struct("<QQQQII28s4x16s")  # word, grant, offset, size, count, stamp, object id, owner
_stamp = struct.Struct("<I")
_STAMP_AT = 36
_STAMPS = 0xFFFFFFFF
HEADER_SIZE = _header.size
unpack_header = _header.unpack_from


class Header(NamedTuple):
    """A header as read.

    Attributes:
        sealed: the object is complete.
        grant: the grant it was written under; 0 when the store itself restored it.
        offset, size: its range of the arena, in bytes.
        parts: how many it has.
        object_id, owner: 28 and 16 bytes.
    """

    sealed: bool
    grant: int
    offset: int
    size: int
    parts: int
    object_id: bytes
    owner: bytes


def object_size(parts: Sequence[Part], page: int) -> int:
    """Bytes of arena that an object of these parts takes: a multiple of `page`."""
    return stored_size([part_size(part) for part in parts], page)


def stored_size(sizes: Sequence[int], page: int) -> int:
    """Bytes of arena that an object with parts of these sizes takes: a multiple of `page`."""
    end = data_start(len(sizes)) + sum(map(_align, sizes))
    return -(-end // page) * page


def data_start(count: int) -> int:
    """Where the first of `count` parts begins, counted from the object's first byte."""
    return _align(HEADER_SIZE + 8 * count)


def begin_object(
    memory: memoryview, offset: int, size: int, grant: int, object_id: bytes, owner: bytes, sizes: Sequence[int]
) -> list[memoryview]:
    """Start an object in a reserved range; returns the writable places of its parts.

    The object exists for others once `seal_object` was called. A crash before that leaves a header that tells where
    the next object is.

    Args:
        memory: the whole arena, writable.
        offset: where the reserved range begins.
        size: its length, which is what `stored_size` says.
        grant: the grant that the range belongs to.
        object_id: 28 bytes.
        owner: 16 bytes, the process that owns the object.
        sizes: bytes of each part.

    Raises:
        ValueError: an id has the wrong length.
    """
    if len(object_id) != 28 or len(owner) != 16:  # noqa: PLR2004 - the sizes that actors/ids.py fixes
        raise ValueError(f"object ids have 28 bytes and owners 16, not {len(object_id)} and {len(owner)}")
    _word.pack_into(memory, offset, 0)
    stamp = time.time_ns() & _STAMPS
    _header.pack_into(memory, offset, 0, grant, offset, size, len(sizes), stamp, object_id, owner)
    struct.pack_into(f"<{len(sizes)}Q", memory, offset + HEADER_SIZE, *sizes)
    _word.pack_into(memory, offset, WRITING)
    starts = accumulate(map(_align, sizes), initial=offset + data_start(len(sizes)))
    return [memory[start : start + part] for start, part in zip(starts, sizes, strict=False)]


def seal_object(memory: memoryview, offset: int) -> None:
    """Say that all parts are written: from now on the object can be read."""
    _word.pack_into(memory, offset, SEALED)


def write_object(
    memory: memoryview, offset: int, size: int, grant: int, object_id: bytes, owner: bytes, parts: Sequence[Part]
) -> None:
    """`begin_object`, copy the parts, `seal_object`. Other threads run while large parts are copied.

    Raises:
        BufferError: a part is not contiguous; the range then holds an unsealed object.
    """
    sizes = [part_size(part) for part in parts]
    for place, part in zip(begin_object(memory, offset, size, grant, object_id, owner, sizes), parts, strict=True):
        copy_part(place, part)
    seal_object(memory, offset)


def move_object(memory: memoryview, offset: int, grant: int) -> None:
    """Make an object whose bytes were copied here from elsewhere at home at `offset`, and seal it."""
    _word.pack_into(memory, offset, 0)
    _word.pack_into(memory, offset + 8, grant)
    _word.pack_into(memory, offset + 16, offset)
    _word.pack_into(memory, offset, SEALED)


def clear_object(memory: memoryview, offset: int) -> None:
    """Make the header name nothing, so that late readers see that the object is gone."""
    _word.pack_into(memory, offset, 0)


def _any_header(memory: memoryview, offset: int) -> Header | None:
    """The header at `offset`, also one that was cleared; it still tells where the next object is."""
    if offset < 0 or offset + HEADER_SIZE > len(memory):
        return None
    word, grant, home, size, count, _, object_id, owner = _header.unpack_from(memory, offset)
    if home != offset or offset + size > len(memory):
        return None
    return Header(word == SEALED, grant, home, size, count, object_id, owner)


def read_stamp(whole: memoryview) -> int:
    """The stamp of an object, given its whole range."""
    return _stamp.unpack_from(whole, _STAMP_AT)[0]


def read_sizes(memory: memoryview, offset: int, count: int) -> tuple[int, ...]:
    """The sizes of the parts of the object at `offset`."""
    return struct.unpack_from(f"<{count}Q", memory, offset + HEADER_SIZE)


def scan(memory: memoryview, start: int, end: int, grant: int) -> list[Header]:
    """The headers that `grant`'s holder left one behind the other in [start, end), sealed, unsealed or cleared.

    For a range in which the holder reserved from the front; the first place without a header of that grant ends it.
    """
    found: list[Header] = []
    while start < end:
        header = _any_header(memory, start)
        if header is None or header.grant != grant or not 0 < header.size <= end - start:
            break
        found.append(header)
        start += header.size
    return found


def _align(size: int) -> int:
    return (size + ALIGNMENT - 1) & -ALIGNMENT
