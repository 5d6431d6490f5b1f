"""Who reads how much of an arena: the kernel's list of locks tells, for each arena by itself."""

import os
import sys

import pytest

from limelight.cluster.store.reading import bytes_read_by
from limelight.transport.shm.arena import Arena

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc/pid/fdinfo is Linux's")
OBJECT, OWNER = b"o" * 28, b"w" * 16


@pytest.fixture
def arenas():
    made = [Arena.create(8 << 20) for _ in range(2)]
    yield made
    for arena in made:
        arena.close()


def test_what_is_read_counts_while_it_is_read_and_only_for_its_arena(arenas):
    earlier, arena = arenas
    size = arena.write(0, 1, OBJECT, OWNER, [bytes(100_000)])
    earlier.write(0, 1, OBJECT, OWNER, [bytes(200_000)])
    pid = os.getpid()
    kept = earlier.read(OBJECT, 0)
    assert bytes_read_by(pid, arena.location) == 0
    views = arena.read(OBJECT, 0)
    assert bytes_read_by(pid, arena.location) == size
    assert bytes_read_by(pid, earlier.location) > size
    del views
    arena.collect()
    assert bytes_read_by(pid, arena.location) == 0
    del kept


def test_a_process_that_is_gone_reads_nothing(arenas):
    assert bytes_read_by(1 << 30, arenas[0].location) == 0
