"""The pool is `multiprocessing.Pool`: what a program written for that does, it does here."""

import itertools
import multiprocessing
import os
import pickle
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from limelight.libs.util.multiprocessing.result import AsyncResult
from limelight.util.multiprocessing import Pool, TimeoutError  # noqa: A004 - the name of multiprocessing's own


@pytest.fixture
def pool(ll):
    with Pool(2) as made:
        yield made


def square(n):
    return n * n


def inverse(n):
    return 1 // n


def test_apply(pool):
    assert pool.apply(pow, (2, 5)) == 32
    assert pool.apply(int, ("ff",), {"base": 16}) == 255
    assert pool.apply_async(int, ("ff",), kwargs={"base": 16}).get(30) == 255
    assert pool.apply(dict) == {}


@pytest.mark.parametrize("chunksize", [None, 1, 3, 100])
def test_map_and_starmap_keep_the_order(pool, chunksize):
    assert pool.map(square, range(20), chunksize) == [n * n for n in range(20)]
    assert pool.starmap(pow, [(n, 2) for n in range(20)], chunksize) == [n * n for n in range(20)]
    assert pool.map(square, [], chunksize) == []


@pytest.mark.parametrize("chunksize", [1, 3])
def test_imap_keeps_the_order_and_imap_unordered_gives_all(pool, chunksize):
    assert list(pool.imap(square, range(20), chunksize)) == [n * n for n in range(20)]
    assert sorted(pool.imap_unordered(square, range(20), chunksize)) == [n * n for n in range(20)]


def test_an_iterable_without_end_can_be_mapped(pool):
    results = pool.imap(square, itertools.count())
    assert [next(results) for _ in range(10)] == [n * n for n in range(10)]


def test_errors_are_the_functions_own(pool):
    with pytest.raises(ZeroDivisionError):
        pool.apply(inverse, (0,))
    result = pool.map_async(inverse, [1, 0, 2], chunksize=1)
    with pytest.raises(ZeroDivisionError):
        result.get(30)
    assert result.ready()
    assert not result.successful()


def test_an_iterator_goes_on_after_an_error(pool):
    results = pool.imap(inverse, [1, 0, 2])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == 0
    with pytest.raises(StopIteration):
        next(results)


def test_callbacks_get_the_result_or_the_error_before_it_is_ready(pool):
    got = []
    result = pool.map_async(square, [1, 2], callback=got.append, error_callback=got.append)
    assert result.get(30) == [1, 4]
    assert got == [[1, 4]]
    failed = pool.apply_async(inverse, (0,), callback=got.append, error_callback=got.append)
    failed.wait(30)
    assert not failed.successful()
    assert isinstance(got[1], ZeroDivisionError)


def test_a_callback_that_fails_hides_no_result(pool):
    assert pool.apply_async(square, (3,), callback=lambda _value: 1 / 0).get(30) == 9


def test_a_result_that_is_late(ll, parallel, pool):
    result = pool.apply_async(_sleep_long)
    with pytest.raises(TimeoutError):
        result.get(0.01)
    assert TimeoutError is multiprocessing.TimeoutError
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    results = pool.imap_unordered(_sleep, [60])
    with pytest.raises(TimeoutError):
        results.next(0.01)
    pool.terminate()
    with pytest.raises(RuntimeError, match="terminated"):
        result.get(30)


def test_the_initializer_runs_in_each_process(ll):
    with Pool(2, initializer=os.putenv, initargs=("LIMELIGHT_POOL_TEST", "ready")) as pool:
        assert pool.map(subprocess.getoutput, ["echo $LIMELIGHT_POOL_TEST"] * 8, chunksize=1) == ["ready"] * 8
    os.unsetenv("LIMELIGHT_POOL_TEST")


def test_processes_are_replaced_when_they_have_served(ll, parallel):
    with Pool(1, maxtasksperchild=2) as pool:
        pids = pool.map(_pid, range(6), chunksize=1)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


def test_a_process_that_dies_fails_its_call_only(ll, parallel, pool):
    with pytest.raises(ll.exceptions.RayActorError):
        pool.apply(os._exit, (3,))
    assert pool.map(square, range(10)) == [n * n for n in range(10)]


def test_work_is_given_to_whoever_is_free(ll, parallel, pool):
    slow = pool.apply_async(_sleep_long)
    assert pool.map(square, range(10), chunksize=1) == [n * n for n in range(10)]
    assert not slow.ready()


def test_close_and_join_wait_for_what_was_submitted(ll):
    pool = Pool(2)
    with pytest.raises(ValueError, match="Pool is still running"):
        pool.join()
    result = pool.map_async(square, range(20), chunksize=1)
    iterator = pool.imap(square, range(20))
    pool.close()
    for submit in (pool.apply, pool.map_async, pool.imap):
        with pytest.raises(ValueError, match="Pool not running"):
            submit(square, [1])
    pool.join()
    assert result.ready()
    assert list(iterator) == result.get() == [n * n for n in range(20)]
    pool.join()


def test_wrong_arguments_are_refused(ll):
    for processes in (0, -1):
        with pytest.raises(ValueError, match="must be >0"):
            Pool(processes)
    with pytest.raises(ValueError, match="has only 4 CPUs"):
        Pool(100)
    with pytest.raises(TypeError, match="callable"):
        Pool(1, initializer="no")
    with pytest.raises(ValueError, match="maxtasksperchild"):
        Pool(1, maxtasksperchild=0)


def test_a_pool_cannot_be_sent_elsewhere(pool):
    with pytest.raises(NotImplementedError, match="pickled"):
        pickle.dumps(pool)


def _pid(_n):
    return os.getpid()


def _sleep(seconds):
    import time

    time.sleep(seconds)


def _sleep_long():
    _sleep(60)


def test_a_result_that_comes_as_its_pool_ends_is_there_though_nobody_is_called_back():
    """The pool may be terminated between a worker's answer and the callback for it."""
    thread = ThreadPoolExecutor(1)
    chunk, called = Future(), []
    result = AsyncResult([chunk], single=True, callback=called.append, error_callback=None, thread=thread)
    thread.shutdown()
    chunk.set_result([9])
    assert result.get(1) == 9
    assert not called


def test_callbacks_run_one_after_the_other(ll, parallel):
    """The first results may come on two threads at once."""
    threads = set()
    for _ in range(10):
        with Pool(2) as pool:
            note = lambda _: threads.add(threading.get_ident())  # noqa: E731
            pids = [pool.apply_async(os.getpid, callback=note) for _ in range(4)]
            assert all(pid.get(30) for pid in pids)
        assert len(threads) == 1
        threads.clear()
