"""Where a class's next tasks have their large arguments, as node managers are told."""

from types import SimpleNamespace

from limelight.actors.contract import Location
from limelight.actors.native.copies import Copies
from limelight.actors.native.entry import INLINE, STORED
from limelight.actors.native.locality import locality, nearest, patience

HOME, EAST, WEST = (name * 28 for name in (b"h", b"e", b"w"))
MIB = 1 << 20


def stored(node_id, size, *copies):
    entry = SimpleNamespace(
        state=STORED,
        location=Location(node_id, 0, size),
        copies=Copies(*(Location(copy, 0, size) for copy in copies)) if copies else None,
    )
    return SimpleNamespace(_entry=entry)


def inline():
    return SimpleNamespace(_entry=SimpleNamespace(state=INLINE))


def task(*dependencies, stored_args=None):
    return SimpleNamespace(dependencies=list(dependencies) or None, stored_args=stored_args)


def test_bytes_are_summed_by_node_and_the_most_comes_first():
    tasks = [task(stored(EAST, 2 * MIB), inline()), task(stored(WEST, 5 * MIB)), task(stored(EAST, 4 * MIB)), task()]
    assert locality(tasks, HOME) == [(EAST.hex(), 6 * MIB), (WEST.hex(), 5 * MIB)]


def test_copies_are_as_good():
    tasks = [task(stored(EAST, 2 * MIB, WEST)), task(stored(WEST, 1 * MIB))]
    assert locality(tasks, HOME) == [(WEST.hex(), 3 * MIB), (EAST.hex(), 2 * MIB)]


def test_what_the_callers_node_has_as_well_or_almost_does_not_matter():
    assert locality([], HOME) == []
    assert locality([task(inline())], HOME) == []
    assert locality([task(stored_args=stored(HOME, 9 * MIB))], HOME) == []
    assert locality([task(stored(EAST, MIB - 1))], HOME) == []
    assert locality([task(stored(EAST, 9 * MIB), stored_args=stored(HOME, 8 * MIB + 1))], HOME) == []


def test_only_the_tasks_that_go_next_count_however_many_there_are():
    endless = (task(stored(EAST, MIB)) for _ in iter(int, 1))
    assert locality(endless, HOME) == [(EAST.hex(), 16 * MIB)]
    assert locality([task(*(stored(EAST, MIB) for _ in range(10_000)))], HOME) == [(EAST.hex(), 64 * MIB)]


def test_a_task_is_near_the_node_that_has_most_of_its_arguments():
    assert nearest(task(stored(EAST, 2 * MIB), stored(WEST, MIB), stored(WEST, MIB + 1))) == WEST.hex()
    assert nearest(task(stored(HOME, 2 * MIB))) == HOME.hex()
    assert nearest(task(inline(), stored(EAST, MIB - 1))) == nearest(task()) == ""


def test_of_what_all_nodes_have_some_copies_are_told_and_none_is_far():
    everywhere = [number.to_bytes(28, "big") for number in range(2000)]
    broadcast = task(stored(EAST, 900 * MIB, *everywhere))
    assert len(locality([broadcast], HOME)) < 100
    assert all(patience(broadcast, node.hex()) == 0.0 for node in (EAST, *everywhere))
    assert patience(broadcast, HOME.hex()) > 0.5
