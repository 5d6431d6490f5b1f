"""Large numbers on one machine: actors, queued tasks, refs, depth. Figures: python -m tests.benchmarks.scale."""

import time

import psutil
import pytest

from tests.benchmarks.footprint import proportional_memory

DEADLINE = 60.0
GIB = 1 << 30


@pytest.fixture(scope="module")
def ll():
    import limelight

    limelight.init(num_cpus=2, log_to_driver=False)
    try:
        yield limelight
    finally:
        limelight.shutdown()


@pytest.fixture(scope="module")
def square(ll):
    return ll.remote(lambda x: x * x)


def memory():
    own = psutil.Process()
    return sum(proportional_memory(process.pid) for process in [own, *own.children(recursive=True)])


def test_ten_thousand_light_actors_answer_a_call_each(ll):
    @ll.remote(isolation="shared")
    class Light:
        def __init__(self, number):
            self.number = number

        def answer(self):
            return self.number

    before = memory()
    actors = [Light.remote(number) for number in range(10_000)]
    assert ll.get([actor.answer.remote() for actor in actors], timeout=DEADLINE) == list(range(10_000))
    assert memory() - before < 2 * GIB


def test_one_hundred_thousand_tasks_queued_at_once(ll, square):
    refs = [square.remote(x) for x in range(100_000)]
    assert ll.get(refs, timeout=DEADLINE) == [x * x for x in range(100_000)]


def test_ten_thousand_refs_in_one_get_wait_argument_and_put(ll, square):
    @ll.remote
    def total_of_list(refs):
        return sum(ll.get(refs))

    @ll.remote
    def total(*values):
        return sum(values)

    refs = [square.remote(x) for x in range(10_000)]
    ready, rest = ll.wait(refs, num_returns=10_000, timeout=DEADLINE)
    assert ready == refs
    assert rest == []
    right = sum(x * x for x in range(10_000))
    assert sum(ll.get(refs)) == right
    assert ll.get(total_of_list.remote(refs), timeout=DEADLINE) == right
    assert ll.get(total.remote(*refs), timeout=DEADLINE) == right
    again = ll.get(ll.put(refs))
    assert again == refs
    assert ll.get(again[9_999]) == 9_999**2


def test_looking_often_at_what_is_not_ready_costs_no_memory(ll):
    @ll.remote
    def nap():
        time.sleep(3600)

    pending = [nap.remote() for _ in range(50)]
    try:
        for _ in range(100):
            ready, rest = ll.wait(pending, num_returns=50, timeout=0)
            assert ready == []
            assert len(rest) == 50
            with pytest.raises(ll.exceptions.GetTimeoutError):
                ll.get(pending[0], timeout=0)
        assert max(len(ref._entry.waiters or ()) for ref in pending) == 0
    finally:
        for ref in pending:
            ll.cancel(ref, force=True)


def test_tasks_may_wait_for_tasks_deeper_than_there_are_cpus(ll):
    @ll.remote
    def deep(left):
        return 1 + ll.get(deep.remote(left - 1)) if left else 0

    assert ll.get(deep.remote(50), timeout=DEADLINE) == 50
