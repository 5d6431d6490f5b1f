"""What user code may do to the process that runs it, and what its caller then sees."""

import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import limelight as ll

DEADLINE = 20


@pytest.fixture(scope="module", autouse=True)
def session():
    ll.init(num_cpus=2)
    yield
    ll.shutdown()


def until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


@ll.remote
def one():
    return 1


@ll.remote
def count(*values):
    return len(values)


@pytest.mark.parametrize("error", [GeneratorExit, KeyboardInterrupt, BaseException])
def test_exceptions_outside_of_exception_are_the_outcome(error):
    @ll.remote(max_retries=0)
    def fail():
        raise error

    with pytest.raises(ll.exceptions.RayTaskError) as raised:
        ll.get(fail.remote(), timeout=DEADLINE)
    assert isinstance(raised.value.cause, error)


def test_an_exception_that_cannot_be_pickled_arrives_with_its_message():
    class UnpicklableError(Exception):
        def __init__(self, lock):
            super().__init__("held")
            self.lock = lock

    @ll.remote(max_retries=0)
    def fail():
        raise UnpicklableError(threading.Lock())

    with pytest.raises(ll.exceptions.RayTaskError, match="held"):
        ll.get(fail.remote(), timeout=DEADLINE)


def test_a_result_that_cannot_be_pickled_is_an_error_that_says_so():
    @ll.remote(num_returns=2, max_retries=0)
    def make():
        return b"x" * 500_000, threading.Lock()

    first, second = make.remote()
    for ref in (first, second):
        with pytest.raises(TypeError, match="cannot be pickled"):
            ll.get(ref, timeout=DEADLINE)


def test_a_function_that_closes_stdout_harms_nobody():
    @ll.remote
    def close():
        sys.stdout.close()

    ll.get(close.remote(), timeout=DEADLINE)
    assert ll.get([one.remote() for _ in range(10)], timeout=DEADLINE) == [1] * 10


def test_a_forked_child_does_not_answer_for_its_parent():
    @ll.remote(max_retries=0)
    def fork():
        child = os.fork()
        if child == 0:
            return "child"
        return "parent", os.waitpid(child, 0)[1]

    assert ll.get(fork.remote(), timeout=DEADLINE) == ("parent", 0)


def test_a_forked_child_that_uses_the_runtime_gets_an_error_at_once():
    @ll.remote(max_retries=0)
    def fork():
        child = os.fork()
        if child == 0:
            try:
                ll.get(one.remote())
            except RuntimeError as error:
                os._exit(42 if "forked" in str(error) else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert ll.get(fork.remote(), timeout=DEADLINE) == 42


def test_a_thread_that_a_task_left_behind_may_run_tasks(tmp_path):
    @ll.remote
    def leave(path):
        begin = threading.Event()

        def later():
            begin.wait(0.3)  # long enough for the task to end, and its worker to be lent to this very thread
            value = ll.get([one.remote() for _ in range(5)])
            Path(path).write_text(str(value))

        threading.Thread(target=later, daemon=True).start()

    path = tmp_path / "value"
    ll.get(leave.remote(str(path)), timeout=DEADLINE)
    until(lambda: path.exists() and path.read_text() == "[1, 1, 1, 1, 1]")


def test_a_worker_ends_after_max_calls():
    @ll.remote(max_calls=2)
    def pid():
        return os.getpid()

    pids = ll.get([pid.remote() for _ in range(8)], timeout=DEADLINE)
    assert set(Counter(pids).values()) == {2}


def test_an_actor_may_call_itself_and_lets_go_of_what_it_gave_itself():
    @ll.remote
    class Actor:
        async def make(self):
            return [ll.put(5)]

        async def yields(self):
            for number in range(3):
                yield [ll.put(number)]

        async def run(self):
            import asyncio

            from limelight.actors import runtime

            me = ll.get_runtime_context().current_actor
            values = [await (await me.make.remote())[0]]
            async for item in me.yields.options(num_returns="streaming").remote():
                values.append(await (await item)[0])
            del item
            table = runtime.current().hub.table
            async with asyncio.timeout(DEADLINE):
                while len(table):  # noqa: ASYNC110 - nothing tells when a table is empty
                    await asyncio.sleep(0.01)
            return values

    assert ll.get(Actor.remote().run.remote(), timeout=DEADLINE) == [5, 0, 1, 2]


def test_async_calls_have_contexts_of_their_own():
    @ll.remote
    class Actor:
        def __init__(self):
            import contextvars

            self.variable = contextvars.ContextVar("variable")

        async def set(self, value, others):
            import asyncio

            self.variable.set(value)
            while len(asyncio.all_tasks()) < others:  # noqa: ASYNC110 - nothing tells of new tasks
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            return self.variable.get()

    actor = Actor.remote()
    assert ll.get([actor.set.remote(number, 1) for number in range(5)], timeout=DEADLINE) == [0, 1, 2, 3, 4]


def test_exit_handlers_of_an_actor_run(tmp_path):
    @ll.remote
    class Actor:
        def __init__(self, path):
            import atexit

            atexit.register(lambda: Path(path).write_text("bye"))

        def ready(self):
            return True

    path = tmp_path / "exit"
    actor = Actor.remote(str(path))
    assert ll.get(actor.ready.remote(), timeout=DEADLINE)
    del actor
    until(path.exists)


def test_an_actor_whose_argument_fails_dies_of_that_error():
    @ll.remote(max_retries=0)
    def fail():
        raise ValueError("no such thing")

    @ll.remote
    class Actor:
        def __init__(self, value):
            pass

        def method(self):
            pass

    actor = Actor.remote(fail.remote())
    with pytest.raises(ll.exceptions.ActorDiedError, match="no such thing"):
        ll.get(actor.method.remote(), timeout=DEADLINE)


def test_cancelling_at_any_moment_ends_a_task_one_way_or_the_other():
    @ll.remote
    def sleep(seconds):
        time.sleep(seconds)
        return seconds

    for step in range(40):
        seconds = 0.01 * (step % 3)
        ref = sleep.remote(seconds)
        time.sleep(0.001 * (step % 20))
        ll.cancel(ref)
        try:
            assert ll.get(ref, timeout=DEADLINE) == seconds
        except ll.exceptions.TaskCancelledError:
            continue
    assert ll.get([one.remote() for _ in range(20)], timeout=DEADLINE) == [1] * 20


def test_a_task_that_is_busy_in_the_runtime_can_be_cancelled():
    @ll.remote
    def busy():
        while True:
            ll.get([one.remote() for _ in range(3)])

    for _ in range(3):
        ref = busy.remote()
        time.sleep(0.1)
        ll.cancel(ref)
        with pytest.raises(ll.exceptions.TaskCancelledError):
            ll.get(ref, timeout=DEADLINE)
    assert ll.get([one.remote() for _ in range(20)], timeout=DEADLINE) == [1] * 20


def test_a_generator_whose_worker_dies_yields_each_item_once(tmp_path):
    @ll.remote(num_returns="streaming", max_retries=2, _generator_backpressure_num_objects=2)
    def items(marker):
        for number in range(30):
            if number == 7 and not Path(marker).exists():
                Path(marker).touch()
                os._exit(1)
            yield number

    generator = items.remote(str(tmp_path / "marker"))
    assert [ll.get(ref, timeout=DEADLINE) for ref in generator] == list(range(30))


def test_a_dropped_generator_runs_to_its_end_and_leaves_nothing(tmp_path):
    @ll.remote(num_returns="streaming", _generator_backpressure_num_objects=1)
    def items(marker):
        for number in range(50):
            yield [ll.put(number)]
        Path(marker).touch()

    marker = tmp_path / "marker"
    generator = items.remote(str(marker))
    next(generator)
    del generator
    until(marker.exists)


def test_many_small_arguments_by_ref_do_not_have_to_fit_into_one_message():
    refs = [ll.put(b"x" * 90_000) for _ in range(200)]
    assert ll.get(count.remote(*refs), timeout=DEADLINE) == 200


def test_many_small_results_do_not_have_to_fit_into_one_message():
    @ll.remote(num_returns=100)
    def make():
        return [bytes([number]) * 90_000 for number in range(100)]

    values = ll.get(make.remote(), timeout=DEADLINE)
    assert [value[0] for value in values] == list(range(100))


def test_a_burst_of_large_arguments_waits_for_the_workers():
    sizes = ll.get([count.remote(os.urandom(90_000)) for _ in range(1500)], timeout=60)
    assert sum(sizes) == 1500


def test_a_function_that_is_too_large_to_send_says_so():
    captured = os.urandom(130 * 1024 * 1024)

    @ll.remote
    def large():
        return len(captured)

    with pytest.raises(ValueError, match=r"130.0 MiB large: captured"):
        ll.get(large.remote(), timeout=60)
    assert ll.get(one.remote(), timeout=DEADLINE) == 1
