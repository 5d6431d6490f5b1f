"""Cases of tasks. Remote functions are defined inside the cases, so that each engine sends them by value."""

import numpy as np

from .case import rate_case
from .rate import rate

IN_FLIGHT = 1000


@rate_case("task: submit and get, one at a time", goal=5)
def task_one_at_a_time(ray, seconds):
    @ray.remote
    def nothing():
        pass

    return rate(lambda: ray.get(nothing.remote()), seconds)


@rate_case("tasks, 1000 in flight", goal=12)
def tasks_in_flight(ray, seconds):
    @ray.remote
    def nothing():
        pass

    return rate(lambda: ray.get([nothing.remote() for _ in range(IN_FLIGHT)]), seconds, units=IN_FLIGHT)


@rate_case("task with a fresh 1 MiB array argument", goal=6)
def task_with_array(ray, seconds):
    @ray.remote
    def length(array):
        return len(array)

    def call():
        array = np.ones(1 << 20, dtype=np.uint8)
        assert ray.get(length.remote(array)) == 1 << 20

    return rate(call, seconds)


@rate_case("task that takes a list of 1000 task refs", goal=20)
def task_with_refs(ray, seconds):
    @ray.remote
    def nothing():
        pass

    @ray.remote
    def length(refs):
        return len(refs)

    def call():
        assert ray.get(length.remote([nothing.remote() for _ in range(1000)])) == 1000

    return rate(call, seconds)


@rate_case("wait on 1000 task refs, one at a time", goal=10)
def wait_one_at_a_time(ray, seconds):
    @ray.remote
    def nothing():
        pass

    def drain():
        waiting = [nothing.remote() for _ in range(1000)]
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            assert len(ready) == 1

    return rate(drain, seconds)
