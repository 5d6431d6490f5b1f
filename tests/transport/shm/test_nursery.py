"""Bump allocation in a granted range."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.transport.shm.nursery import Grant, Nursery, Return
from limelight.transport.shm.stored_object import begin_object, clear_object, scan, seal_object

PAGE = 4096


@given(st.lists(st.integers(1, 6), max_size=30))
def test_reservations_lie_one_behind_the_other_within_the_grant(pages):
    nursery = Nursery(Grant(3, 10 * PAGE, 20 * PAGE))
    expected = 10 * PAGE
    for count in pages:
        offset = nursery.reserve(count * PAGE)
        if expected + count * PAGE > 30 * PAGE:
            assert offset is None
        else:
            assert offset == expected
            expected += count * PAGE
    assert nursery.remaining == 30 * PAGE - expected


def test_threads_never_get_the_same_place():
    nursery = Nursery(Grant(1, 0, 4000 * PAGE))
    places = [[] for _ in range(4)]

    def fill(mine):
        while (offset := nursery.reserve(PAGE)) is not None:
            mine.append(offset)

    threads = [threading.Thread(target=fill, args=(mine,)) for mine in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(offset for mine in places for offset in mine) == list(range(0, 4000 * PAGE, PAGE))


def test_the_newest_reservation_can_be_taken_back_at_once_and_others_are_returned_in_the_end():
    nursery = Nursery(Grant(1, 0, 10 * PAGE))
    first, second = nursery.reserve(PAGE), nursery.reserve(2 * PAGE)
    assert nursery.release(second, 2 * PAGE) is None
    assert nursery.reserve(3 * PAGE) == second
    assert nursery.release(first, PAGE) is None
    assert nursery.retire() == [Return(1, first, PAGE, touched=True), Return(1, 4 * PAGE, 6 * PAGE, touched=False)]


def test_retiring_returns_the_rest_once_and_ends_it():
    nursery = Nursery(Grant(1, 0, 10 * PAGE))
    offset = nursery.reserve(4 * PAGE)
    assert nursery.retire() == [Return(1, 4 * PAGE, 6 * PAGE, touched=False)]
    assert nursery.retire() == []
    assert nursery.reserve(PAGE) is None
    assert nursery.release(offset, 4 * PAGE) == Return(1, offset, 4 * PAGE, touched=True)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking is what is tested
def test_a_forked_process_cannot_write_over_its_parent_s_objects():
    nursery = Nursery(Grant(1, 0, 10 * PAGE))
    child = os.fork()
    if child == 0:
        try:
            nursery.reserve(PAGE)
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert nursery.reserve(PAGE) == 0


def test_what_an_abandoned_reservation_may_have_touched_is_told_with_the_rest():
    nursery = Nursery(Grant(1, 0, 10 * PAGE))
    offset = nursery.reserve(4 * PAGE)
    assert nursery.release(offset, 4 * PAGE) is None
    nursery.reserve(PAGE)
    assert nursery.retire() == [Return(1, PAGE, 9 * PAGE, touched=True)]


def test_a_later_object_over_an_abandoned_one_leaves_the_rest_untouched():
    nursery = Nursery(Grant(1, 0, 10 * PAGE))
    nursery.release(nursery.reserve(2 * PAGE), 2 * PAGE)
    nursery.reserve(3 * PAGE)
    assert nursery.retire() == [Return(1, 3 * PAGE, 7 * PAGE, touched=False)]


@given(st.data())
def test_objects_never_overlap_and_a_scan_finds_all_that_were_not_released(data):
    """What the node does when the holder is killed: it must not lose an object behind a hole."""
    memory, nursery = memoryview(bytearray(40 * PAGE)), Nursery(Grant(7, 4 * PAGE, 30 * PAGE))
    alive = {}
    for number in range(data.draw(st.integers(0, 25), label="steps")):
        if alive and data.draw(st.booleans(), label="release"):
            offset = data.draw(st.sampled_from(sorted(alive)), label="which")
            size, _ = alive.pop(offset)
            clear_object(memory, offset)
            assert nursery.release(offset, size) is None
            continue
        size = PAGE * data.draw(st.integers(1, 9), label="pages")
        offset = nursery.reserve(size)
        if offset is None:
            continue
        assert 4 * PAGE <= offset <= offset + size <= 34 * PAGE
        assert all(offset + size <= other or other + alive[other][0] <= offset for other in alive)
        object_id = bytes([number]) * 28
        begin_object(memory, offset, size, 7, object_id, b"o" * 16, [size - 200])
        seal_object(memory, offset)
        alive[offset] = size, object_id
    found = {h.offset: (h.size, h.object_id) for h in scan(memory, 4 * PAGE, 34 * PAGE, 7) if h.sealed}
    assert found == alive
    rest = nursery.retire()
    assert sum(part.size for part in rest) + sum(size for size, _ in alive.values()) == 30 * PAGE


def test_what_is_released_after_the_end_goes_back_to_the_store():
    nursery = Nursery(Grant(1, 0, 10 * PAGE))
    offset = nursery.reserve(PAGE)
    nursery.retire()
    assert nursery.release(offset, PAGE) == Return(1, offset, PAGE, touched=True)
