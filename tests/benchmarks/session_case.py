"""Cases of whole sessions: how long they take to come and go, and what they weigh."""

import time
from itertools import pairwise

from .case import SESSION, Row, case
from .footprint import settled_footprint


@case(
    Row("init", "init()", " s", 10, more_is_better=False),
    Row("first_task", "first task after init()", " s", 10, more_is_better=False),
    Row("shutdown", "shutdown()", " s", 10, more_is_better=False),
    in_session=False,
)
def start_and_stop(ray, seconds):
    times = [time.perf_counter()]
    ray.init(**SESSION)
    times.append(time.perf_counter())

    @ray.remote
    def one():
        return 1

    assert ray.get(one.remote()) == 1
    times.append(time.perf_counter())
    ray.shutdown()
    times.append(time.perf_counter())
    durations = [later - earlier for earlier, later in pairwise(times)]
    return dict(zip(("init", "first_task", "shutdown"), durations, strict=True))


@case(
    Row("idle_memory", "idle session: PSS besides the driver", " MiB", 5, more_is_better=False),
    Row("idle_processes", "idle session: processes besides the driver", "", None, more_is_better=False),
)
def idle(ray, seconds):
    memory, processes = settled_footprint(quiet=seconds)
    return {"idle_memory": memory / (1 << 20), "idle_processes": processes}
