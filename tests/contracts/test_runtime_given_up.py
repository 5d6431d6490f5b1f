"""Waiting with a time-out, again and again: who gives up leaves nothing behind; see conftest.py for the runtimes."""

import asyncio
import gc

import pytest

from limelight.actors.object_ref_generator import ObjectRefGenerator

TIMES = 300


@pytest.fixture
def pending(ll, not_local, tmp_path):
    """A ref and a generator of tasks that run until the test is over."""

    def wait_for(marker):
        import time

        while not marker.exists():
            time.sleep(0.01)

    @ll.remote(num_cpus=0)
    def one(marker):
        wait_for(marker)
        return 1

    @ll.remote(num_cpus=0, num_returns="streaming")
    def many(marker):
        wait_for(marker)
        yield 1

    marker = tmp_path / "over"
    ref, generator = one.remote(marker), many.remote(marker)
    yield ref, generator
    marker.touch()
    assert ll.get([ref, next(generator)]) == [1, 1]


def waiters(waitable):
    """How many callbacks are with what the runtime keeps for it."""
    entry = waitable._entry
    kept = entry._callbacks if isinstance(waitable, ObjectRefGenerator) else entry.waiters
    return len(kept or ())


def test_wait(ll, pending):
    for _ in range(TIMES):
        ll.wait(list(pending), num_returns=2, timeout=0.001)
        ll.wait([pending[1]], timeout=0)
        assert not pending[1].next_ready()
    assert [waiters(waitable) for waitable in pending] == [0, 0]


async def test_await(ll, pending):
    ref, generator = pending
    for _ in range(TIMES):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ref, 0.0001)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ref.as_future(), 0.0001)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(generator), 0.0001)
    gc.collect()
    assert waiters(generator) == 0
    assert waiters(ref) < TIMES / 2, "those that have given up pile up"


def test_get(ll, pending):
    for _ in range(TIMES):
        with pytest.raises(ll.exceptions.GetTimeoutError):
            ll.get(pending[0], timeout=0.0001)
    assert waiters(pending[0]) == 0
