"""What every runtime does for tasks and objects; see conftest.py for the runtimes."""

import asyncio
import time

import numpy as np
import pytest

DEADLINE = 30.0


@pytest.fixture(scope="module")
def add(ll):
    @ll.remote
    def add(a, b=2, *, c=0):
        return a + b + c

    return add


@pytest.fixture(scope="module")
def sleep(ll):
    @ll.remote
    def sleep(seconds):
        time.sleep(seconds)
        return seconds

    return sleep


class TestTasks:
    def test_a_task_returns_what_its_function_returns(self, ll, add):
        assert ll.get(add.remote(1)) == 3
        assert ll.get(add.remote(1, 1, c=5)) == 7
        assert ll.get(add.remote(b="y", a="x", c="z")) == "xyz"

    def test_refs_among_the_arguments_are_replaced_by_their_values(self, ll, add):
        assert ll.get(add.remote(ll.put(1), b=add.remote(1, 1))) == 3

    def test_refs_inside_arguments_stay_refs(self, ll):
        @ll.remote
        def second(box):
            assert isinstance(box["refs"][0], ll.ObjectRef)
            return ll.get(box["refs"])[1]

        assert ll.get(second.remote({"refs": [ll.put(1), ll.put(2)]})) == 2

    def test_refs_inside_results_stay_refs_and_keep_their_objects(self, ll):
        @ll.remote
        def make():
            return [ll.put(np.arange(3))]

        inner = ll.get(make.remote())[0]
        assert ll.get(inner).tolist() == [0, 1, 2]

    def test_tasks_start_tasks(self, ll):
        @ll.remote
        def fib(n):
            return n if n < 2 else sum(ll.get([fib.remote(n - 1), fib.remote(n - 2)]))

        assert ll.get(fib.remote(5)) == 5

    def test_a_thousand_tasks(self, ll, add):
        assert ll.get([add.remote(i, 0) for i in range(1000)]) == list(range(1000))

    def test_arguments_and_results_are_copies(self, ll):
        @ll.remote
        def append(items):
            items.append(1)
            return items

        mine = []
        assert ll.get(append.remote(mine)) == [1]
        assert mine == []
        stored = ll.put(mine)
        ll.get(append.remote(stored))
        assert ll.get(stored) == []
        assert ll.get(stored) is not ll.get(stored)

    def test_functions_are_called_with_what_they_accept(self, ll, add):
        for args, kwargs, message in [
            ((), {}, "missing a required argument: 'a'"),
            ((1, 2, 3), {}, "too many positional arguments"),
            ((1,), {"d": 1}, "got an unexpected keyword argument 'd'"),
            ((1,), {"a": 1}, "multiple values for argument 'a'"),
        ]:
            with pytest.raises(TypeError, match=message):
                add.remote(*args, **kwargs)

    def test_a_remote_function_cannot_be_called(self, add):
        with pytest.raises(TypeError, match=r"add\.remote\("):
            add(1)

    def test_an_argument_that_cannot_be_pickled_is_refused_at_the_call(self, ll, add):
        import threading

        with pytest.raises(TypeError, match="lock"):
            add.remote(threading.Lock())

    def test_remote_functions_can_be_passed_on(self, ll, add):
        @ll.remote
        def call(function, *args):
            return ll.get(function.remote(*args))

        assert ll.get(call.remote(add, 1, 2)) == 3

    def test_remote_functions_keep_name_and_docstring(self, ll, better_than_ray):
        """Ray keeps the docstring only."""

        @ll.remote
        def documented():
            """Says so."""

        assert documented.__name__ == "documented"
        assert documented.__doc__ == "Says so."


class TestNumReturns:
    def test_several(self, ll):
        @ll.remote(num_returns=2)
        def pair():
            return "a", "b"

        first, second = pair.remote()
        assert ll.get([first, second]) == ["a", "b"]

    def test_none(self, ll):
        @ll.remote(num_returns=0)
        def nothing():
            return None

        assert nothing.remote() is None

    def test_set_for_one_call(self, ll):
        @ll.remote
        def three():
            return [1, 2, 3]

        assert ll.get(three.options(num_returns=3).remote()) == [1, 2, 3]
        assert ll.get(three.remote()) == [1, 2, 3]

    @pytest.mark.parametrize("returned", [1, 3])
    def test_another_number_of_values_is_an_error_of_every_ref(self, ll, returned):
        @ll.remote(num_returns=2)
        def wrong():
            return [0] * returned

        for ref in wrong.remote():
            with pytest.raises(ValueError, match="num_returns=2"):
                ll.get(ref)

    def test_a_value_that_cannot_be_taken_apart(self, ll):
        @ll.remote(num_returns=2)
        def wrong():
            return 5

        with pytest.raises(TypeError):
            ll.get(wrong.remote())

    def test_a_generator_fills_a_fixed_number(self, ll):
        @ll.remote(num_returns=2)
        def items(count):
            yield from range(count)

        assert ll.get(items.remote(2)) == [0, 1]
        assert ll.get(items.remote(3)) == [0, 1]
        with pytest.raises(ValueError, match="num_returns=2"):
            ll.get(items.remote(1))

    def test_a_generator_for_one_value_gives_its_first_item(self, ll):
        @ll.remote(num_returns=1)
        def items():
            yield 1
            yield 2

        assert ll.get(items.remote()) == 1


class TestObjects:
    def test_put_and_get(self, ll):
        for value in (1, "x", None, [1, {"a": (2, 3)}], b"bytes"):
            assert ll.get(ll.put(value)) == value

    def test_arrays_come_back_equal_and_read_only(self, ll):
        array = np.arange(1_000_000).reshape(1000, 1000)
        back = ll.get(ll.put(array))
        assert np.array_equal(back, array)
        assert not back.flags.writeable

    def test_get_keeps_the_order_of_a_list(self, ll, sleep):
        refs = [sleep.remote(0.1), ll.put("now"), sleep.remote(0)]
        assert ll.get(refs) == [0.1, "now", 0]
        assert ll.get([]) == []
        assert ll.get([refs[1], refs[1]]) == ["now", "now"]

    def test_what_cannot_be_got(self, ll):
        for wrong in (1, None, (ll.put(1),), {ll.put(1)}):
            with pytest.raises(ValueError):
                ll.get(wrong)
        for wrong in ([1], [[ll.put(1)]]):
            with pytest.raises(TypeError):
                ll.get(wrong)

    def test_a_ref_cannot_be_put(self, ll):
        with pytest.raises(TypeError, match="list"):
            ll.put(ll.put(1))
        assert ll.get(ll.get(ll.put([ll.put(1)]))[0]) == 1

    def test_get_waits_no_longer_than_its_timeout(self, ll, sleep, not_local):
        ref = sleep.remote(1.5)
        for timeout in (0, 0.05):
            with pytest.raises(ll.exceptions.GetTimeoutError):
                ll.get(ref, timeout=timeout)
        with pytest.raises(TimeoutError):
            ll.get([ref], timeout=0.05)
        assert ll.get(ref, timeout=DEADLINE) == 1.5
        assert ll.get(ref, timeout=0) == 1.5

    def test_a_timeout_must_make_sense(self, ll, better_than_ray):
        """Ray ends the process for a negative timeout."""
        with pytest.raises(ValueError, match="0 seconds or more"):
            ll.get(ll.put(1), timeout=-3)
        with pytest.raises(TypeError, match="seconds"):
            ll.get(ll.put(1), timeout="1")

    def test_refs_know_their_ids(self, ll, add):
        ref = add.remote(1)
        assert len(ref.binary()) == 28
        assert ref.hex() == ref.binary().hex()
        assert ref.binary().startswith(ref.task_id().binary())
        assert repr(ref) == f"ObjectRef({ref.hex()})"
        assert not ref.is_nil()
        assert ref.job_id().hex() == ll.get_runtime_context().get_job_id()

    def test_refs_compare_by_id(self, ll):
        ref = ll.put(1)
        copy = ll.get(ll.put([ref]))[0]
        assert copy == ref
        assert hash(copy) == hash(ref)
        assert len({copy, ref, ll.put(1)}) == 2

    def test_an_object_lives_as_long_as_a_value_that_contains_its_ref(self, ll):
        outer = ll.put([ll.put([ll.put("deep")])])
        assert ll.get(ll.get(ll.get(outer)[0])[0]) == "deep"


class TestWait:
    def test_ready_ones_and_others_in_order(self, ll, sleep):
        now = [ll.put(i) for i in range(3)]
        assert ll.wait(now, num_returns=3) == (now, [])
        assert ll.wait(now, num_returns=2) == (now[:2], now[2:])
        assert ll.wait([]) == ([], [])

    def test_waits_for_the_fastest(self, ll, sleep, not_local):
        slow, fast = sleep.remote(2 * DEADLINE), sleep.remote(0)
        assert ll.wait([slow, fast], timeout=DEADLINE) == ([fast], [slow])
        ll.cancel(slow)

    def test_a_failed_task_is_ready(self, ll):
        @ll.remote
        def fail():
            raise ValueError

        ref = fail.remote()
        assert ll.wait([ref], timeout=DEADLINE) == ([ref], [])

    def test_gives_up_after_its_timeout(self, ll, sleep, not_local):
        ref = sleep.remote(1)
        assert ll.wait([ref], timeout=0) == ([], [ref])
        assert ll.wait([ref], timeout=0.05) == ([], [ref])
        assert ll.wait([ref], timeout=DEADLINE) == ([ref], [])

    def test_what_cannot_be_waited_for(self, ll):
        ref = ll.put(1)
        for wrong in (ref, (ref,), {ref}, iter([ref]), [1]):
            with pytest.raises(TypeError, match="list"):
                ll.wait(wrong)
        with pytest.raises(ValueError, match="timeout"):
            ll.wait([ref], timeout=-1)
        for refs, num_returns in (([ref, ref], 1), ([ref], 0), ([ref], 2)):
            with pytest.raises(ValueError):
                ll.wait(refs, num_returns=num_returns)


class TestFutures:
    async def test_await(self, ll, sleep):
        assert await sleep.remote(0.05) == 0.05
        assert await ll.put(1) == 1

    async def test_gather(self, ll, sleep):
        assert await asyncio.gather(*[sleep.remote(i / 100) for i in range(3)]) == [0, 0.01, 0.02]

    async def test_wait_for(self, ll, sleep, not_local):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(sleep.remote(1), 0.05)

    async def test_await_raises_the_error(self, ll):
        @ll.remote
        def fail():
            raise KeyError("k")

        with pytest.raises(KeyError):
            await fail.remote()

    def test_concurrent_future(self, ll, sleep):
        assert sleep.remote(0.05).future().result(DEADLINE) == 0.05

    def test_result(self, ll, sleep, better_than_ray):
        """Ray's refs have no `result`."""
        assert sleep.remote(0.01).result(timeout=DEADLINE) == 0.01


class TestCancel:
    def test_a_running_task(self, ll, sleep, not_local):
        ref = sleep.remote(DEADLINE)
        ll.wait([ref], timeout=0.3)
        ll.cancel(ref)
        with pytest.raises(ll.exceptions.TaskCancelledError):
            ll.get(ref, timeout=DEADLINE)

    def test_a_running_task_by_force(self, ll, sleep, not_local):
        ref = sleep.remote(DEADLINE)
        ll.wait([ref], timeout=0.3)
        ll.cancel(ref, force=True)
        with pytest.raises((ll.exceptions.TaskCancelledError, ll.exceptions.WorkerCrashedError)):
            ll.get(ref, timeout=DEADLINE)

    def test_a_task_that_waits_for_a_worker(self, ll, sleep, not_local):
        running = [sleep.remote(1) for _ in range(4)]
        waiting = sleep.remote(0)
        ll.cancel(waiting)
        with pytest.raises(ll.exceptions.TaskCancelledError):
            ll.get(waiting, timeout=DEADLINE)
        assert ll.get(running, timeout=DEADLINE) == [1] * 4

    def test_a_task_that_waits_for_its_arguments(self, ll, sleep, add, not_local):
        argument = sleep.remote(1)
        waiting = add.remote(argument)
        ll.cancel(waiting)
        with pytest.raises(ll.exceptions.TaskCancelledError):
            ll.get(waiting, timeout=DEADLINE)
        assert ll.get(argument, timeout=DEADLINE) == 1

    def test_the_tasks_that_it_started(self, ll, not_local):
        @ll.remote
        class Box:
            def keep(self, item):
                self.item = item

            def take(self):
                return getattr(self, "item", None)

        @ll.remote
        def child():
            time.sleep(DEADLINE)

        @ll.remote
        def parent(box):
            ref = child.remote()
            ll.get(box.keep.remote([ref]))
            ll.get(ref)

        box = Box.remote()
        outer = parent.remote(box)
        deadline = time.monotonic() + DEADLINE
        while (kept := ll.get(box.take.remote())) is None:
            assert time.monotonic() < deadline
        ll.cancel(outer)
        for ref in (outer, kept[0]):
            with pytest.raises(ll.exceptions.TaskCancelledError):
                ll.get(ref, timeout=DEADLINE)

    def test_a_task_whose_arguments_are_being_unpickled(self, ll, tmp_path, not_local):
        class Slow:
            def __reduce__(self):
                return load, (tmp_path / "begun",)

        def load(path):
            path.touch()
            time.sleep(0.5)

        @ll.remote
        def late(_):
            time.sleep(2 * DEADLINE)

        ref = late.remote(Slow())
        self.cancelled_once_there_is(ll, tmp_path / "begun", ref)

    def test_a_task_in_a_finalizer(self, ll, tmp_path, not_local, better_than_ray):
        """Python ignores exceptions there."""
        begun = tmp_path / "begun"

        class Slow:
            def __del__(self):
                begun.touch()
                time.sleep(0.5)

        @ll.remote
        def drop():
            Slow()
            time.sleep(2 * DEADLINE)

        self.cancelled_once_there_is(ll, begun, drop.remote())

    def cancelled_once_there_is(self, ll, path, ref):
        deadline = time.monotonic() + DEADLINE
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        ll.cancel(ref)
        with pytest.raises(ll.exceptions.TaskCancelledError):
            ll.get(ref, timeout=DEADLINE)

    def test_a_finished_task_is_left_alone(self, ll, add):
        ref = add.remote(1)
        assert ll.get(ref) == 3
        ll.cancel(ref)
        assert ll.get(ref) == 3

    def test_only_refs(self, ll):
        with pytest.raises(TypeError, match="kill"):
            ll.cancel(1)


class TestRetries:
    @pytest.fixture
    def attempts(self, tmp_path):
        return tmp_path / "attempts"

    def flaky(self, ll, path, failures, error=ValueError, **options):
        @ll.remote(**options)
        def run():
            with path.open("a") as file:
                file.write("x")
            if len(path.read_text()) <= failures:
                raise error("again")
            return "well"

        return run.remote()

    def test_exceptions_are_not_retried_unless_asked_for(self, ll, attempts):
        with pytest.raises(ValueError):
            ll.get(self.flaky(ll, attempts, 9, max_retries=3))
        assert attempts.read_text() == "x"

    def test_retry_exceptions(self, ll, attempts):
        ref = self.flaky(ll, attempts, 2, max_retries=3, retry_exceptions=True)
        assert ll.get(ref, timeout=DEADLINE) == "well"
        assert attempts.read_text() == "xxx"

    def test_retries_are_counted(self, ll, attempts):
        with pytest.raises(ValueError):
            ll.get(self.flaky(ll, attempts, 9, max_retries=2, retry_exceptions=True), timeout=DEADLINE)
        assert attempts.read_text() == "xxx"

    def test_only_the_listed_exceptions(self, ll, attempts):
        options = {"max_retries": 5, "retry_exceptions": [KeyError]}
        with pytest.raises(ValueError):
            ll.get(self.flaky(ll, attempts, 9, **options), timeout=DEADLINE)
        assert attempts.read_text() == "x"
        assert ll.get(self.flaky(ll, attempts, 2, KeyError, **options), timeout=DEADLINE) == "well"

    def test_a_task_whose_worker_died(self, ll, attempts, not_local):
        @ll.remote(max_retries=2)
        def dies_twice():
            import os

            with attempts.open("a") as file:
                file.write("x")
            if len(attempts.read_text()) <= 2:
                os._exit(1)
            return "well"

        assert ll.get(dies_twice.remote(), timeout=DEADLINE) == "well"
