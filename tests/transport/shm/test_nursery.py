"""Bump allocation in a granted range."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.transport.shm.nursery import Grant, Nursery, Return

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


def test_the_newest_reservation_can_be_taken_back_and_others_are_returned():
    nursery = Nursery(Grant(1, 0, 10 * PAGE))
    first, second = nursery.reserve(PAGE), nursery.reserve(2 * PAGE)
    assert nursery.abandon(second, 2 * PAGE) is None
    assert nursery.reserve(3 * PAGE) == second
    assert nursery.abandon(first, PAGE) == Return(1, first, PAGE, touched=True)


def test_retiring_returns_the_rest_once_and_ends_it():
    nursery = Nursery(Grant(1, 0, 10 * PAGE))
    offset = nursery.reserve(4 * PAGE)
    assert nursery.retire() == Return(1, 4 * PAGE, 6 * PAGE, touched=False)
    assert nursery.retire() is None
    assert nursery.reserve(PAGE) is None
    assert nursery.abandon(offset, 4 * PAGE) == Return(1, offset, 4 * PAGE, touched=True)


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
    assert nursery.abandon(offset, 4 * PAGE) is None
    nursery.reserve(PAGE)
    assert nursery.retire() == Return(1, PAGE, 9 * PAGE, touched=True)


def test_a_later_object_over_an_abandoned_one_leaves_the_rest_untouched():
    nursery = Nursery(Grant(1, 0, 10 * PAGE))
    nursery.abandon(nursery.reserve(2 * PAGE), 2 * PAGE)
    nursery.reserve(3 * PAGE)
    assert nursery.retire() == Return(1, 3 * PAGE, 7 * PAGE, touched=False)
