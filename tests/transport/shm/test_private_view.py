"""Copy-on-write views of what is in shared memory."""

import gc
import os
from pathlib import Path

import pytest

from limelight.transport.shm.arena import PAGE, Arena, private_view
from limelight.transport.shm.reclaimer import Reclaimer
from limelight.transport.shm.stored_object import object_size

OBJECT, OWNER = b"o" * 28, b"w" * 16
LARGE = 1 << 20


@pytest.fixture(params=["memfd", "file"])
def arena(request, tmp_path):
    made = Arena.create(16 << 20, directory=str(tmp_path) if request.param == "file" else None)
    yield made
    gc.collect()
    made.close()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def content():
    return os.urandom(LARGE)


def stored(arena, content):
    """The large part of an object, as a reader has it."""
    arena.write(0, 1, OBJECT, OWNER, [b"meta", content])
    return arena.read(OBJECT, 0)[1]


def test_it_has_the_content_and_what_is_written_to_it_nobody_else_sees(arena, content):
    view = stored(arena, content)
    first, second = private_view(view), private_view(view)
    assert first == content
    first[0] ^= 0xFF
    first[-1] ^= 0xFF
    assert second == view == content


def test_any_slice_can_be_viewed(arena, content):
    view = stored(arena, content)
    for start, end in [(1, LARGE), (PAGE - 1, LARGE - 5), (64, 64 + 300_000)]:
        private = private_view(view[start:end])
        assert private == content[start:end]
        private[:] = bytes(end - start)
    assert view == content


def test_the_memory_stays_pinned_until_the_last_slice_of_it_goes(arena, content):
    view = stored(arena, content)
    size = object_size([b"meta", content], PAGE)
    private = private_view(view)[1000:2000]
    del view
    reclaimer = Reclaimer(arena)
    assert not reclaimer.reclaim(0, size)
    assert private == content[1000:2000]
    del private
    assert reclaimer.reclaim(0, size)
    reclaimer.close()


def test_it_takes_no_descriptor_and_leaves_no_mapping(arena, content):
    view = stored(arena, content)
    descriptors, mappings = (Path("/proc/self") / name for name in ("fd", "maps"))
    before = len(list(descriptors.iterdir())), mappings.read_text().count("\n")
    views = [private_view(view) for _ in range(50)]
    assert len(list(descriptors.iterdir())) == before[0]
    assert all(private == content for private in views)
    del views
    assert mappings.read_text().count("\n") <= before[1] + 5


def test_small_things_and_other_memory_are_copied(arena, content):
    view = stored(arena, content)
    assert isinstance(private_view(view[:1000]), bytearray)
    assert arena.private_view(memoryview(content)) is None
    assert private_view(memoryview(content)) == content
