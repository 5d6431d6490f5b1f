"""An Executor is a `concurrent.futures.Executor`."""

import concurrent.futures
import threading

import pytest

from limelight.util import Executor


@pytest.fixture
def executor(ll):
    with Executor() as made:
        yield made


def fail(text):
    raise LookupError(text)


def test_a_call_gives_its_result_or_its_error(executor):
    assert executor.submit(pow, 2, 10).result(30) == 1024
    assert executor.submit(int, "ff", base=16).result(30) == 255
    with pytest.raises(LookupError, match="nothing here"):
        executor.submit(fail, "nothing here").result(30)


def test_refs_arrive_as_their_values(ll, executor):
    assert executor.submit(sum, ll.put([1, 2])).result(30) == 3


@pytest.mark.parametrize("chunksize", [1, 4])
def test_map_keeps_the_order(executor, chunksize):
    assert list(executor.map(pow, range(10), [2] * 10, chunksize=chunksize)) == [n * n for n in range(10)]


def test_map_raises_at_the_result_that_failed(executor):
    results = executor.map(lambda n: 1 // n, [1, 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_futures_work_with_the_standard_librarys_functions(executor):
    futures = [executor.submit(pow, n, 2) for n in range(5)]
    assert sorted(future.result() for future in concurrent.futures.as_completed(futures, 30)) == [0, 1, 4, 9, 16]
    assert not concurrent.futures.wait(futures, 30).not_done


def test_what_cannot_be_pickled_fails_its_future_only(executor):
    bad = executor.submit(len, threading.Lock())
    with pytest.raises(TypeError, match="lock"):
        bad.result(30)
    assert executor.submit(len, "abc").result(30) == 3


def test_a_limited_executor_runs_everything(ll):
    with Executor(max_workers=2, num_cpus=1) as executor:
        assert list(executor.map(pow, range(20), [2] * 20)) == [n * n for n in range(20)]


def test_nothing_is_taken_after_shutdown(ll):
    executor = Executor()
    future = executor.submit(pow, 2, 2)
    executor.shutdown()
    assert future.done()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pow, 2, 2)


def test_shutdown_can_cancel_what_waits(ll, parallel):
    executor = Executor(max_workers=1)
    futures = [executor.submit(_sleep_long) for _ in range(3)]
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)


def test_a_cancelled_future_is_done_for_everyone_who_waits(ll, parallel):
    with Executor() as executor:
        future = executor.submit(_sleep_long)
        assert not concurrent.futures.wait([future], 0.01).done
        assert future.cancel()
        assert future.cancel()
        assert concurrent.futures.wait([future], 30).done
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(30)
        assert executor.submit(pow, 2, 2).result(30) == 4


def _sleep_long():
    import time

    time.sleep(60)


def test_workers_must_be_some(ll):
    with pytest.raises(ValueError, match="max_workers"):
        Executor(max_workers=0)
