"""A Queue behaves like `queue.Queue`, wherever it is used from."""

import queue

import pytest

from limelight.util.queue import Empty, Full, Queue


@pytest.fixture
def make(ll):
    made = []

    def make_(*args, **kwargs):
        made.append(Queue(*args, **kwargs))
        return made[-1]

    yield make_
    for item in made:
        item.shutdown(force=True)


def test_first_in_first_out(make):
    q = make()
    for item in (1, "two", None):
        q.put(item)
    assert (len(q), q.size(), q.qsize(), q.empty(), q.full()) == (3, 3, 3, False, False)
    assert [q.get(), q.get(), q.get()] == [1, "two", None]
    assert q.empty()


@pytest.mark.parametrize("how", [{"block": False}, {"timeout": 0.01}, {"timeout": 0}])
def test_empty_and_full_are_those_of_the_standard_library(make, how):
    q = make(1)
    with pytest.raises(Empty) as empty:
        q.get(**how)
    q.put(1)
    assert q.full()
    with pytest.raises(Full) as full:
        q.put(2, **how)
    assert isinstance(empty.value, queue.Empty)
    assert isinstance(full.value, queue.Full)


def test_batches_are_all_or_nothing(make):
    q = make(3)
    q.put_nowait_batch(iter([1, 2]))
    with pytest.raises(Full, match="Cannot add 2 items to queue of size 2 and maxsize 3"):
        q.put_nowait_batch([3, 4])
    with pytest.raises(Empty, match="Cannot get 3 items from queue of size 2"):
        q.get_nowait_batch(3)
    assert q.get_nowait_batch(2) == [1, 2]
    assert q.get_nowait_batch(0) == []


def test_wrong_arguments_are_named(make):
    q = make()
    for call in (lambda: q.get(timeout=-1), lambda: q.put(1, timeout=-1)):
        with pytest.raises(ValueError, match="'timeout' must be a non-negative number"):
            call()
    with pytest.raises(TypeError, match="'items' must be an Iterable"):
        q.put_nowait_batch(5)
    with pytest.raises(TypeError, match="'num_items' must be an int"):
        q.get_nowait_batch("x")
    with pytest.raises(ValueError, match="'num_items' must be nonnegative"):
        q.get_nowait_batch(-1)


def test_a_task_can_use_a_queue(ll, make):
    @ll.remote
    def produce(q, items):
        for item in items:
            q.put(item)

    q = make()
    ll.get(produce.remote(q, [1, 2, 3]))
    assert q.get_nowait_batch(3) == [1, 2, 3]


async def test_coroutines_can_wait_for_a_queue(make):
    q = make(1)
    await q.put_async("item")
    with pytest.raises(Full):
        await q.put_async("more", block=False)
    assert await q.get_async() == "item"
    with pytest.raises(Empty):
        await q.get_async(timeout=0.01)


def test_a_getter_is_woken_by_a_put(ll, parallel, make):
    @ll.remote
    def consume(q):
        return q.get(timeout=30)

    q = make()
    waiting = [consume.remote(q) for _ in range(2)]
    q.put("a")
    q.put("b")
    assert sorted(ll.get(waiting)) == ["a", "b"]


def test_a_putter_is_woken_by_a_get(ll, parallel, make):
    @ll.remote
    def produce(q):
        q.put("second", timeout=30)

    q = make(1)
    q.put("first")
    waiting = produce.remote(q)
    assert [q.get(timeout=30), q.get(timeout=30)] == ["first", "second"]
    ll.get(waiting)


def test_after_shutdown_the_error_says_so(make):
    q = make(actor_options={"max_concurrency": 5})
    q.shutdown()
    q.shutdown()
    with pytest.raises(RuntimeError, match="has been shut down"):
        q.size()
