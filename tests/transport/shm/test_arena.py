"""The arena: made once, joined by any process of the node, left at any time."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from limelight.transport.shm.arena import PAGE, Arena
from limelight.transport.shm.backing import ArenaLocation
from limelight.transport.shm.error import ArenaClosedError, ArenaGoneError
from limelight.transport.shm.stored_object import object_size

OBJECT, OWNER = b"o" * 28, b"w" * 16


@pytest.fixture(params=["memfd", "file"])
def arena(request, tmp_path):
    made = Arena.create(16 << 20, directory=str(tmp_path) if request.param == "file" else None)
    yield made
    made.close()
    assert list(tmp_path.iterdir()) == []


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_one_process_writes_another_reads(arena):
    arena.write(PAGE, 1, OBJECT, OWNER, [b"meta", b"x" * 100_000])
    script = f"""
from limelight.transport.shm.arena import Arena, ArenaLocation
import msgspec
arena = Arena.attach(msgspec.msgpack.decode({msgspec.msgpack.encode(arena.location)!r}, type=ArenaLocation))
meta, data = arena.read({OBJECT!r}, {PAGE})
assert bytes(meta) == b"meta" and bytes(data) == b"x" * 100_000
assert data.readonly
print("read")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("read\n", "")


def test_attaching_when_the_node_process_has_ended_says_what_to_do():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(ArenaGoneError, match=f"node process {ended.pid}.*connect to a running cluster"):
        Arena.attach(ArenaLocation(ended.pid, 5, 1, 1, 4096))


def test_a_descriptor_that_was_reused_is_recognized(arena):
    there = arena.location
    reused = ArenaLocation(there.pid, there.fd, there.inode + 1, there.device, there.size, there.path)
    before = open_descriptors()
    with pytest.raises(ArenaGoneError, match="is another file now"):
        Arena.attach(reused)
    assert open_descriptors() == before


def test_memory_is_taken_when_written_and_given_back_by_punching():
    arena = Arena.create(64 << 20)
    assert arena.resident_bytes() == 0
    size = arena.write(0, 1, OBJECT, OWNER, [b"m", bytes(10 << 20)])
    assert size <= arena.resident_bytes() <= size + PAGE
    arena.punch(0, size)
    assert arena.resident_bytes() == 0
    arena.close()


def test_closing_is_idempotent_and_leaves_no_descriptor():
    before = open_descriptors()
    arena = Arena.create(1 << 20)
    arena.write(0, 1, OBJECT, OWNER, [b"m"])
    joined = Arena.attach(arena.location)
    joined.read(OBJECT, 0)
    for each in (joined, arena):
        each.close()
        each.close()
    assert open_descriptors() == before


def test_views_outlive_the_arena_and_free_it_with_their_end():
    before = open_descriptors()
    arena = Arena.create(1 << 20)
    arena.write(0, 1, OBJECT, OWNER, [b"meta", b"data" * 1000])
    data = arena.read(OBJECT, 0)[1]
    arena.close()
    assert bytes(data[:8]) == b"datadata"
    with pytest.raises(ArenaClosedError, match="session has ended"):
        arena.read(OBJECT, 0)
    del data
    assert arena.closed
    assert open_descriptors() == before


def test_a_view_for_writing_keeps_the_memory_mapped():
    arena = Arena.create(1 << 20)
    place = arena.memory[:PAGE]
    arena.close()
    place[:3] = b"abc"
    assert bytes(place[:3]) == b"abc"


def test_parts_filled_piece_by_piece(arena):
    sizes = [5, 0, 70_000]
    first, second, third = arena.begin(0, 1, OBJECT, OWNER, sizes)
    first[:] = b"hello"
    third[:35_000] = b"a" * 35_000
    third[35_000:] = b"b" * 35_000
    arena.seal(0)
    assert [bytes(part) for part in arena.read(OBJECT, 0)] == [b"hello", b"", b"a" * 35_000 + b"b" * 35_000]
    assert object_size([b"hello", b"", memoryview(third)], PAGE) % PAGE == 0
    del first, second, third
