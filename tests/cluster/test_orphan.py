"""Results that a worker has stored, and dies before its reply arrives: nobody knows of them, so they must not stay."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import limelight as ll
from limelight.actors import runtime

MB = 1_000_000
DEADLINE = 60.0


@pytest.fixture
def spill_folder():
    """Of a session whose store holds five of the tests' objects."""
    folder = Path(ll.init(num_cpus=2, object_store_memory=60 * MB, log_to_driver=False)["session_dir"]) / "spill"
    yield folder
    ll.shutdown()


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def eventually(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition has not come about"
        time.sleep(0.02)


def die_instead_of_answering(told):
    """Have this process end when the running task's result is stored; `told`: and the node's store has heard of it."""
    hub = runtime.current().hub

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def answer(*_):
        if told:
            hub.wire.submit(after_a_while())
            time.sleep(DEADLINE)
        die()

    async def after_a_while():
        hub.wire.loop.call_later(0.1, die)

    if not told:
        hub.store._seal = die
    hub.execution.answer = answer


@ll.task(max_retries=0)
def make_and_die(number, told):
    die_instead_of_answering(told)
    return np.full(10 * MB // 8, number)


@ll.task(max_retries=1)
def make_and_die_once(number, marker):
    if not Path(marker).exists():
        Path(marker).touch()
        die_instead_of_answering(told=True)
    return np.full(10 * MB // 8, number)


@ll.task(num_returns="streaming", max_retries=0)
def yield_and_die(count):
    for number in range(count):
        yield np.full(10 * MB // 8, number)
    die_instead_of_answering(told=True)


@pytest.mark.parametrize("told", [True, False], ids=["the store knew", "found by a scan"])
def test_they_go_when_the_worker_is_lost(spill_folder, told):
    for number in range(8):
        with pytest.raises(ll.exceptions.WorkerCrashedError):
            ll.get(make_and_die.remote(number, told), timeout=DEADLINE)
    last = [ll.put(np.full(10 * MB // 8, number)) for number in range(4)]
    eventually(lambda: not files(spill_folder))
    assert [ll.get(ref)[0] for ref in last] == [0, 1, 2, 3]
    eventually(lambda: not files(spill_folder))


def test_they_go_and_what_a_retry_has_made_stays(spill_folder, tmp_path):
    refs = [make_and_die_once.remote(number, str(tmp_path / str(number))) for number in range(4)]
    found = [ll.get(ref, timeout=DEADLINE) for ref in refs]
    assert [(array == number).all() for number, array in enumerate(found)] == [True] * 4
    eventually(lambda: not files(spill_folder))


def test_items_that_have_arrived_stay(spill_folder):
    items = list(yield_and_die.remote(3))
    with pytest.raises(ll.exceptions.WorkerCrashedError):
        ll.get(items[3], timeout=DEADLINE)
    with pytest.raises(ll.exceptions.WorkerCrashedError):
        ll.get(make_and_die.remote(0, told=True), timeout=DEADLINE)
    assert [ll.get(ref, timeout=DEADLINE)[0] for ref in items[:3]] == [0, 1, 2]
