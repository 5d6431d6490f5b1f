"""Cancellation under load and under fire: every task either returns its value or is cancelled, and nothing waits."""

import random
import time

import pytest

from tests.chaos.worker_killer import WorkerKiller

DEADLINE = 30.0


def outcome(ll, ref):
    try:
        return ll.get(ref, timeout=DEADLINE)
    except ll.exceptions.TaskCancelledError:
        return "cancelled"


def test_half_of_twenty_thousand_queued_tasks_cancelled(ll):
    @ll.remote
    def square(x):
        return x * x

    refs = [square.remote(x) for x in range(20_000)]
    for ref in refs[::-2]:
        ll.cancel(ref)
    outcomes = [outcome(ll, ref) for ref in refs]
    assert all(got in (x * x, "cancelled") for x, got in enumerate(outcomes))
    assert outcomes[::2] == [x * x for x in range(0, 20_000, 2)]
    assert outcomes.count("cancelled") > 1000


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_mix_of_work_that_is_cancelled_and_killed_comes_to_an_end(ll, seed):
    chooser = random.Random(seed)

    @ll.remote(max_retries=-1)
    def nap(x):
        time.sleep(0.005)
        return x

    @ll.remote(max_retries=-1)
    def parent(x):
        return sum(ll.get([nap.remote(x), nap.remote(x)]))

    @ll.remote(max_retries=-1)
    def after(x):
        return x + 1

    @ll.remote(max_retries=5, retry_exceptions=[ConnectionError])
    def flaky(x):
        if ll.get_runtime_context().get_task_id() and random.random() < 0.3:
            raise ConnectionError("on purpose")
        return x

    kinds = {"nap": (nap, 1), "parent": (parent, 2), "flaky": (flaky, 1)}
    refs, expected = [], []
    with WorkerKiller(seed, pause=0.2):
        for number in range(300):
            task, factor = kinds[chooser.choice(sorted(kinds))]
            refs.append(task.remote(number))
            expected.append(number * factor)
            if chooser.random() < 0.3:
                refs.append(after.remote(refs[-1]))
                expected.append(expected[-1] + 1)
            if chooser.random() < 0.3:
                victim = chooser.choice(refs)
                ll.cancel(victim, force=chooser.random() < 0.3, recursive=chooser.random() < 0.8)
        outcomes = []
        for ref in refs:
            try:
                outcomes.append(outcome(ll, ref))
            except ll.exceptions.WorkerCrashedError:
                outcomes.append("crashed")
            except ConnectionError:
                outcomes.append("flaky")
    wrong = [
        (got, right)
        for got, right in zip(outcomes, expected, strict=True)
        if got not in (right, "cancelled", "flaky", "crashed")
    ]
    assert wrong == []
    assert outcomes.count("crashed") <= 5
    assert sum(got == right for got, right in zip(outcomes, expected, strict=True)) > len(outcomes) / 3
    assert ll.get([after.remote(x) for x in range(100)], timeout=DEADLINE) == list(range(1, 101))


def test_all_cpus_are_there_again_when_the_storm_is_over(ll):
    @ll.remote(max_retries=-1)
    def nap():
        time.sleep(60)

    @ll.remote(max_retries=-1)
    def waits(refs):
        return ll.get(refs)

    with WorkerKiller(seed=9, pause=0.1):
        naps = [nap.remote() for _ in range(8)]
        waiting = [waits.remote(naps) for _ in range(8)]
        ll.wait(naps, timeout=1)
        for ref in [*naps, *waiting]:
            ll.cancel(ref)
        assert {outcome(ll, ref) for ref in [*naps, *waiting]} <= {"cancelled"}
    deadline = time.monotonic() + DEADLINE
    while ll.available_resources().get("CPU", 0) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert ll.available_resources()["CPU"] == 4
