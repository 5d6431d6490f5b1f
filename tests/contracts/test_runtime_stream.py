"""What every runtime does for generators; see conftest.py for the runtimes."""

import asyncio
import pickle
import time

import pytest

DEADLINE = 30.0


@pytest.fixture(scope="module")
def count(ll):
    @ll.remote
    def count(n, fail=False):
        for i in range(n):  # noqa: UP028 - see test_generators_that_delegate
            yield i
        if fail:
            raise ValueError("in the middle")

    return count


@pytest.fixture(scope="module")
def source_class(ll):
    @ll.remote
    class Source:
        def __init__(self):
            self.made = 0

        def plain(self, n):
            for i in range(n):
                self.made += 1
                yield i

        async def asynchronous(self, n):
            for i in range(n):
                await asyncio.sleep(0)
                self.made += 1
                yield i

        async def count(self):
            return self.made

    return Source


def values(ll, generator):
    return [ll.get(ref, timeout=DEADLINE) for ref in generator]


def test_items_of_a_task(ll, count):
    generator = count.remote(3)
    assert isinstance(generator, ll.ObjectRefGenerator)
    assert iter(generator) is generator
    assert values(ll, generator) == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(generator)


def test_no_items(ll, count):
    assert values(ll, count.remote(0)) == []


def test_items_of_methods(ll, source_class):
    source = source_class.remote()
    assert values(ll, source.plain.remote(3)) == [0, 1, 2]
    assert values(ll, source.asynchronous.remote(3)) == [0, 1, 2]


def test_generators_that_delegate(ll, better_than_ray):
    """Ray needs whatever `yield from` delegates to to have `send`, which a range has not."""

    @ll.remote
    def delegate(n):
        yield from range(n)

    assert values(ll, delegate.remote(3)) == [0, 1, 2]


def test_items_of_an_asynchronous_generator_task(ll, better_than_ray):
    """Ray takes such a function, and fails to run it."""

    @ll.remote
    async def numbers():
        for i in range(3):
            await asyncio.sleep(0)
            yield i

    assert values(ll, numbers.remote()) == [0, 1, 2]


async def test_async_iteration(ll, count, source_class):
    assert [await ref async for ref in count.remote(3)] == [0, 1, 2]
    assert [await ref async for ref in source_class.remote().asynchronous.remote(3)] == [0, 1, 2]
    empty = count.remote(0)
    with pytest.raises(StopAsyncIteration):
        await empty.__anext__()


def test_an_error_is_the_last_item(ll, count):
    generator = count.remote(2, fail=True)
    refs = list(generator)
    assert [ll.get(ref) for ref in refs[:2]] == [0, 1]
    assert len(refs) == 3
    with pytest.raises(ValueError, match="in the middle"):
        ll.get(refs[2])


def test_completed(ll, count):
    generator = count.remote(3)
    assert ll.get(generator.completed(), timeout=DEADLINE) is None
    assert values(ll, generator) == [0, 1, 2]


def test_a_task_that_raised_has_been_completed(ll):
    @ll.remote
    def fail():
        yield 1
        raise ValueError("in the middle")

    generator = fail.remote()
    assert ll.get(generator.completed(), timeout=DEADLINE) is None
    assert len(list(generator)) == 2


def test_a_call_of_a_dead_actor_is_never_completed(ll, source_class):
    @ll.remote
    class Stillborn:
        def __init__(self):
            raise ValueError("no life")

        def count(self):
            yield 1

    generator = Stillborn.remote().count.remote()
    with pytest.raises(ll.exceptions.ActorDiedError):
        ll.get(generator.completed(), timeout=DEADLINE)


def test_finished_and_ready(ll, count):
    generator = count.remote(1)
    ll.get(generator.completed(), timeout=DEADLINE)
    assert generator.next_ready()
    assert not generator.is_finished()
    assert values(ll, generator) == [0]
    assert generator.is_finished()
    assert not generator.next_ready()


def test_items_arrive_while_the_task_runs(ll, not_local, tmp_path):
    go_on = tmp_path / "go on"

    @ll.remote
    def slow():
        yield "first"
        while not go_on.exists():
            time.sleep(0.01)
        yield "last"

    generator = slow.remote()
    assert ll.get(next(generator), timeout=DEADLINE) == "first"
    assert not generator.next_ready()
    go_on.touch()
    assert values(ll, generator) == ["last"]


def test_wait_for_generators(ll, count):
    generator, ref = count.remote(2), ll.put(1)
    assert ll.wait([generator, ref], num_returns=2, timeout=DEADLINE) == ([generator, ref], [])
    assert ll.wait([generator], timeout=DEADLINE) == ([generator], [])


def test_get_returns_a_generator_as_it_is(ll, count):
    generator = count.remote(1)
    assert ll.get(generator) is generator or values(ll, generator) == [0]


def test_arguments_may_be_refs(ll, count):
    assert values(ll, count.remote(ll.put(2))) == [0, 1]


def test_items_can_be_passed_on(ll, count):
    @ll.remote
    def double(x):
        return 2 * x

    assert ll.get([double.remote(ref) for ref in count.remote(3)], timeout=DEADLINE) == [0, 2, 4]


def test_a_producer_waits_when_its_items_are_not_taken(ll, source_class):
    source = source_class.options(max_concurrency=4).remote()
    generator = source.asynchronous.options(_generator_backpressure_num_objects=2).remote(5)
    first = [next(generator), next(generator)]
    made = ll.get(source.count.remote(), timeout=DEADLINE)
    assert made <= 4
    assert [ll.get(ref) for ref in first] + values(ll, generator) == [0, 1, 2, 3, 4]


def test_endless_generators_can_be_cancelled(ll):
    @ll.remote(_generator_backpressure_num_objects=1)
    def endless():
        n = 0
        while True:
            yield n
            n += 1

    generator = endless.remote()
    assert ll.get(next(generator), timeout=DEADLINE) == 0
    ll.cancel(generator)
    try:
        last = sum(1 for ref in generator if ll.get(ref, timeout=DEADLINE) is not None)
    except ll.exceptions.TaskCancelledError:
        last = 0
    assert last < 100


def test_generators_stay_in_their_process(ll, count):
    with pytest.raises(TypeError):
        pickle.dumps(count.remote(1))


def test_generators_are_not_coroutines(ll, count):
    generator = count.remote(1)
    for method, arguments in (("send", (None,)), ("throw", (ValueError(),)), ("close", ())):
        with pytest.raises(NotImplementedError):
            getattr(generator, method)(*arguments)


@pytest.mark.filterwarnings("ignore:num_returns='dynamic'")
def test_dynamic(ll, count):
    ref = count.options(num_returns="dynamic").remote(3)
    assert isinstance(ref, ll.ObjectRef)
    items = ll.get(ref, timeout=DEADLINE)
    assert len(items) == 3
    assert values(ll, items) == [0, 1, 2]


def test_streaming_is_for_generators(ll):
    with pytest.raises(ValueError, match="generator"):

        @ll.remote(num_returns="streaming")
        def plain():
            return 1
