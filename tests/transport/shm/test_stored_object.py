"""How objects lie in shared memory."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.transport.shm.error import ObjectMovedError
from limelight.transport.shm.stored_object import (
    HEADER_SIZE,
    SEALED,
    Header,
    begin_object,
    clear_object,
    move_object,
    object_size,
    read_sizes,
    scan,
    seal_object,
    write_object,
)

PAGE = 4096
OBJECT, OWNER = bytes(range(28)), b"w" * 16


def header_at(memory: memoryview, offset: int) -> Header | None:
    """The header there, of whatever grant; None where there is none."""
    grant = int.from_bytes(memory[offset + 8 : offset + 16], "little") if offset >= 0 else 0
    return next(iter(scan(memory, offset, len(memory), grant)), None)


def parts_of(memory: memoryview, offset: int) -> list[bytes]:
    """What a reader makes of the bytes, by the documented layout."""
    header = header_at(memory, offset)
    assert header is not None
    if not header.sealed:
        raise ObjectMovedError
    start = offset + -(-(HEADER_SIZE + 8 * header.parts) // 64) * 64
    found = []
    for size in read_sizes(memory, offset, header.parts):
        assert start % 64 == 0
        found.append(bytes(memory[start : start + size]))
        start += -(-size // 64) * 64
    assert start <= offset + header.size
    return found


@given(st.lists(st.binary(max_size=300), max_size=40), st.integers(0, 3))
def test_parts_come_back_as_they_were(parts, page):
    memory = memoryview(bytearray(16 * PAGE))
    size = object_size(parts, PAGE)
    write_object(memory, page * PAGE, size, 7, OBJECT, OWNER, parts)
    header = header_at(memory, page * PAGE)
    assert header == (True, 7, page * PAGE, size, len(parts), OBJECT, OWNER)
    assert parts_of(memory, page * PAGE) == parts


@given(st.lists(st.tuples(st.integers(0, 3 * PAGE), st.sampled_from(["sealed", "unsealed"])), max_size=8), st.data())
def test_a_scan_finds_what_a_grant_s_holder_left_and_nothing_older(objects, data):
    memory = memoryview(bytearray(64 * PAGE))
    for page in range(64):  # remains of an earlier grant everywhere
        write_object(memory, page * PAGE, PAGE, 6, OBJECT, OWNER, [b"old"])
    offset, expected = 0, []
    for number, (length, state) in enumerate(objects):
        object_id = bytes([number]) * 28
        size = object_size([bytes(length)], PAGE)
        begin_object(memory, offset, size, 7, object_id, OWNER, [length])
        if state == "sealed":
            seal_object(memory, offset)
        expected.append((state == "sealed", offset, size, object_id))
        offset += size
    found = scan(memory, 0, 64 * PAGE, 7)
    assert [(header.sealed, header.offset, header.size, header.object_id) for header in found] == expected


def test_a_header_names_its_place_so_a_copy_of_it_elsewhere_is_none():
    memory = memoryview(bytearray(4 * PAGE))
    write_object(memory, 0, PAGE, 1, OBJECT, OWNER, [b"x"])
    memory[PAGE : 2 * PAGE] = memory[:PAGE]
    assert header_at(memory, PAGE) is None
    move_object(memory, PAGE, 9)
    assert header_at(memory, PAGE) == (True, 9, PAGE, PAGE, 1, OBJECT, OWNER)
    assert parts_of(memory, PAGE) == [b"x"]


def test_a_cleared_object_is_gone():
    memory = memoryview(bytearray(PAGE))
    write_object(memory, 0, PAGE, 1, OBJECT, OWNER, [b"x"])
    clear_object(memory, 0)
    header = header_at(memory, 0)
    assert header is not None, "it still tells where the next object is"
    assert not header.sealed


@given(st.sampled_from([b"", SEALED.to_bytes(8, "little")]), st.binary(max_size=HEADER_SIZE))
def test_arbitrary_bytes_are_not_read_beyond_the_end(start, content):
    memory = memoryview(bytearray((start + content).ljust(PAGE, b"\xff")))
    header = header_at(memory, 0)
    assert header is None or header.size <= PAGE
    assert header_at(memory, PAGE - 8) is None
    assert header_at(memory, -PAGE) is None


@pytest.mark.parametrize(("object_id", "owner"), [(os.urandom(27), OWNER), (OBJECT, b"")])
def test_ids_of_the_wrong_length_are_refused(object_id, owner):
    with pytest.raises(ValueError, match="28 bytes and owners 16"):
        begin_object(memoryview(bytearray(PAGE)), 0, PAGE, 1, object_id, owner, [])


def test_a_part_that_is_not_contiguous_is_refused_and_leaves_nothing_to_read():
    memory = memoryview(bytearray(PAGE))
    with pytest.raises((BufferError, ValueError, TypeError)):
        write_object(memory, 0, PAGE, 1, OBJECT, OWNER, [memoryview(b"abcd")[::2]])
    header = header_at(memory, 0)
    assert header is not None
    assert not header.sealed
