"""An ActorPool hands out work and gives back results as Ray's does."""

import pytest

from limelight.util import ActorPool


@pytest.fixture
def pool(ll):
    @ll.remote
    class Worker:
        def __init__(self):
            self.calls = 0

        def double(self, value):
            self.calls += 1
            if value == "bad":
                raise ValueError("cannot double that")
            return 2 * value

        def wait(self, refs):
            ll.wait(refs, timeout=30)

    return ActorPool([Worker.remote() for _ in range(2)])


def double(actor, value):
    return actor.double.remote(value)


def test_map_keeps_the_order(pool):
    assert list(pool.map(double, range(10))) == [2 * value for value in range(10)]


def test_map_unordered_gives_every_result(pool):
    assert sorted(pool.map_unordered(double, range(10))) == [2 * value for value in range(10)]


def test_map_submits_before_its_results_are_taken_and_passes_over_what_was_left(pool):
    pool.submit(double, 100)
    pool.submit(double, 200)
    pool.submit(double, 300)
    results = pool.map(double, [1, 2])
    assert pool.has_next()
    assert list(results) == [2, 4]
    assert not pool.has_next()
    assert pool.has_free()


def test_results_can_be_taken_in_order_and_out_of_order(pool):
    for value in (1, 2, 3):
        pool.submit(double, value)
    assert not pool.has_free()
    first = pool.get_next()
    assert first == 2
    assert sorted([pool.get_next_unordered(), pool.get_next()]) == [4, 6]


@pytest.mark.parametrize("take", ["get_next", "get_next_unordered"])
def test_there_is_no_result_when_nothing_was_submitted(pool, take):
    with pytest.raises(StopIteration, match="No more results"):
        getattr(pool, take)()


def test_an_error_is_raised_where_its_result_is_taken_and_the_actor_is_free_again(pool):
    pool.submit(double, "bad")
    with pytest.raises(ValueError, match="cannot double that"):
        pool.get_next()
    assert list(pool.map(double, range(4))) == [0, 2, 4, 6]


def test_a_result_that_is_late_can_be_waited_for_again_or_passed_over(ll, parallel, pool):
    @ll.remote
    class Gate:
        async def wait(self):
            import asyncio

            await asyncio.Event().wait()

    gate = Gate.remote()
    never = gate.wait.remote()
    pool.submit(lambda actor, refs: actor.wait.remote(refs), [never])
    with pytest.raises(TimeoutError, match=r"Timed out waiting for result$"):
        pool.get_next(timeout=0.05)
    assert pool.has_next()
    with pytest.raises(TimeoutError, match="has been ignored"):
        pool.get_next_unordered(timeout=0.05, ignore_if_timedout=True)
    assert not pool.has_next()
    ll.kill(gate)


def test_actors_come_and_go(pool):
    actor = pool.pop_idle()
    assert pool.pop_idle() is not None
    assert pool.pop_idle() is None
    assert not pool.has_free()
    pool.submit(double, 5)
    assert not pool.has_next()
    pool.push(actor)
    assert pool.get_next() == 10
    with pytest.raises(ValueError, match="already belongs"):
        pool.push(actor)
