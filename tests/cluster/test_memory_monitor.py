"""Which worker is stopped when memory runs out."""

import pytest

from limelight.cluster.memory_monitor import (
    SETTLE_SECONDS,
    WORTHWHILE,
    MemoryMonitor,
    ProcessMemory,
    WorkerMemory,
    describe_stop,
)
from limelight.cluster.memory_usage import MemoryUsage

GIB = 1 << 30
FULL = MemoryUsage(int(15.5 * GIB), 16 * GIB, "the machine")
FINE = MemoryUsage(8 * GIB, 16 * GIB, "the machine")


def worker(name, started, private=GIB, retriable=True):
    return WorkerMemory(name, int(started), name, private, started, retriable)


def test_nothing_is_stopped_while_there_is_memory():
    assert MemoryMonitor().check(FINE, [worker("a", 1)], 0.0) is None


def test_a_threshold_of_one_stops_nothing():
    assert MemoryMonitor(1).check(FULL, [worker("a", 1)], 0.0) is None


@pytest.mark.parametrize("threshold", [0, -1, 1.5, 95])
def test_a_wrong_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match="share of the node's memory"):
        MemoryMonitor(threshold)


@pytest.mark.parametrize(
    ("workers", "chosen"),
    [
        ([worker("old", 1), worker("new", 2)], "new"),
        ([worker("retriable", 1), worker("new", 2, retriable=False)], "retriable"),
        ([worker("old", 1, retriable=False), worker("new", 2, retriable=False)], "new"),
        ([worker("old", 1), worker("tiny", 2, private=WORTHWHILE - 1)], "old"),
        ([worker("large", 1, retriable=False), worker("tiny", 2, private=5)], "large"),
        ([worker("tiny", 1, private=5)], "tiny"),
    ],
)
def test_the_newest_retriable_worker_that_is_worth_it_goes_first(workers, chosen):
    assert MemoryMonitor().check(FULL, workers, 0.0).worker_id == chosen


def test_no_worker_no_choice():
    assert MemoryMonitor().check(FULL, [], 0.0) is None


def test_one_at_a_time():
    monitor = MemoryMonitor()
    workers = [worker("a", 1), worker("b", 2), worker("c", 3)]
    assert monitor.check(FULL, workers, 0.0).worker_id == "c"
    assert monitor.check(FULL, workers, 0.5) is None, "it is still ending"
    assert monitor.check(FULL, workers[:2], 1.0).worker_id == "b", "it has ended, and that was not enough"
    assert monitor.check(FULL, workers[:2], 1.0 + SETTLE_SECONDS).worker_id == "a", "the last does not end"


def test_the_reason_says_what_happened_and_who_held_the_memory():
    workers = [worker("f", 1, 3 * GIB), worker("train()", 2, 5 * GIB)]
    others = [ProcessMemory(7, "python notebook.py", 6 * GIB)] + [ProcessMemory(n, "small", 1) for n in range(10, 20)]
    reason = describe_stop(FULL, 0.95, MemoryMonitor().check(FULL, workers, 0.0), workers, others)
    for part in (
        "pid 2",
        "train()",
        "5.00 GiB",
        "15.50 GiB of 16.00 GiB",
        "96.9%",
        "95.0%",
        "retried",
        "3.00 GiB  pid 1  f",
        "6.00 GiB  pid 7  python notebook.py",
    ):
        assert part in reason
    assert reason.count("small") == 4, "the five largest"
