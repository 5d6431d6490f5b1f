"""Stored results and items that are lost with a node, of tasks that made several: all are made good."""

import numpy as np
import pytest

import limelight as ll
from limelight.exceptions import ObjectLostError

from .cluster_program import PATIENCE, alive, at, eventually

SIZE = 200_000


@pytest.fixture
def pinned(doomed):
    """Options that have a task run on the doomed node, and elsewhere when that is gone."""
    return {"scheduling_strategy": at(doomed, soft=True)}


@ll.task(num_returns="streaming", max_retries=1)
def numbers(count):
    for number in range(count):
        yield np.full(SIZE, number)


@ll.remote
class Source:
    @ll.method(num_returns="streaming")
    def numbers(self, count):
        for number in range(count):
            yield np.full(SIZE, number)


def lose(cluster, node):
    """Remove a node, and have everybody know: else a lease that is kept there may cost an attempt."""
    cluster.remove_node(node)
    known = ll.actors.runtime.current().hub.gone_nodes  # what this process has heard, later than the head
    eventually(lambda: not alive(node) and node.node_id in known)


def firsts(refs):
    return [int(array[0]) for array in ll.get(refs, timeout=PATIENCE)]


def test_one_more_run_makes_all_results_of_a_task_again(cluster, doomed, pinned):
    @ll.task(num_returns=3, max_retries=1)
    def three():
        return [np.full(SIZE, number) for number in range(3)]

    refs = three.options(**pinned).remote()
    ll.wait(refs, num_returns=3)
    lose(cluster, doomed)
    assert [firsts([ref]) for ref in refs] == [[0], [1], [2]]


def test_results_that_are_missed_at_once_are_made_by_one_run(cluster, doomed, pinned):
    @ll.task(num_returns=2, max_retries=1)
    def two():
        return [np.full(SIZE, number) for number in range(2)]

    refs = two.options(**pinned).remote()
    ll.wait(refs, num_returns=2)
    lose(cluster, doomed)
    read = [ll.task(lambda array: int(array[0])).remote(ref) for ref in refs]
    assert ll.get(read, timeout=PATIENCE) == [0, 1]


@pytest.mark.parametrize("backpressure", [-1, 2])
def test_items_of_a_generator_are_made_again(cluster, doomed, pinned, backpressure):
    made = numbers.options(**pinned, _generator_backpressure_num_objects=backpressure)
    refs = list(made.remote(8))
    ll.wait([refs[-1]])
    del refs[3]
    lose(cluster, doomed)
    assert firsts(refs[:1]) == [0]
    assert firsts(refs[1:]) == [1, 2, 4, 5, 6, 7]


def test_items_that_were_not_taken_yet_are_made_again(cluster, doomed, pinned):
    generator = numbers.options(**pinned).remote(4)
    ll.get(generator.completed(), timeout=PATIENCE)
    lose(cluster, doomed)
    assert firsts(list(generator)) == [0, 1, 2, 3]


def test_items_of_a_generator_that_failed_in_the_end_are_made_again(cluster, doomed, pinned):
    @ll.task(num_returns="streaming", max_retries=1)
    def failing():
        yield np.full(SIZE, 0)
        yield np.full(SIZE, 1)
        raise ValueError("no more")

    refs = list(failing.options(**pinned).remote())
    with pytest.raises(ValueError, match="no more"):
        ll.get(refs[2], timeout=PATIENCE)
    lose(cluster, doomed)
    assert firsts(refs[:2]) == [0, 1]


def test_an_item_that_is_not_yielded_again_is_lost(cluster, doomed, pinned, tmp_path):
    @ll.task(num_returns="streaming", max_retries=-1)
    def fewer(marker):
        yield np.full(SIZE, 0)
        if not marker.exists():
            marker.touch()
            yield np.full(SIZE, 1)

    refs = list(fewer.options(**pinned).remote(tmp_path / "marker"))
    lose(cluster, doomed)
    with pytest.raises(ObjectLostError, match="did not yield it this time"):
        ll.get(refs[1], timeout=PATIENCE)
    assert firsts(refs[:1]) == [0]


def test_items_of_a_dynamic_task_are_made_again(cluster, doomed, pinned):
    ref = numbers.options(**pinned, num_returns="dynamic").remote(3)
    refs = list(ll.get(ref, timeout=PATIENCE))
    lose(cluster, doomed)
    assert firsts(refs) == [0, 1, 2]


@pytest.mark.parametrize("retries", [0, 1])
def test_items_of_a_task_or_actor_without_retries_are_lost_and_say_so(cluster, doomed, retries):
    place = {"scheduling_strategy": at(doomed)}
    if retries:  # of the task's worker, which does not help where there is no other node for it
        source = Source.options(**place).remote()
        refs = list(source.numbers.remote(2))
        option = "max_task_retries of 0"
    else:
        refs = list(numbers.options(**place, max_retries=0).remote(2))
        option = "max_retries of 0"
    lose(cluster, doomed)
    with pytest.raises(ObjectLostError, match=option):
        ll.get(refs[0], timeout=PATIENCE)


def test_items_of_a_restarted_actor_are_made_again_where_its_calls_may_be(cluster, doomed, pinned):
    source = Source.options(**pinned, max_restarts=1, max_task_retries=1).remote()
    refs = list(source.numbers.remote(3))
    lose(cluster, doomed)
    assert firsts(refs) == [0, 1, 2]
