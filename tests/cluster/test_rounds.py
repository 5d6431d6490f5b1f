"""How long tasks share the CPUs there are."""

import time

import limelight as ll

DEADLINE = 60.0


def test_twice_as_many_long_tasks_as_cpus_run_in_two_rounds():
    """The README's program, shorter: never more at once than there are CPUs, and never fewer while some wait."""

    @ll.remote
    def nap():
        start = time.time()
        time.sleep(0.5)
        return start, time.time()

    ll.init(num_cpus=6, log_to_driver=False)
    try:
        spans = sorted(ll.get([nap.remote() for _ in range(12)], timeout=DEADLINE))
    finally:
        ll.shutdown()
    at_once = [sum(begin <= start < end for begin, end in spans) for start, _ in spans]
    assert max(at_once) == 6
    ends = sorted(end for _, end in spans)
    # The seventh starts when the first has ended, and so on: before the first of the second round could have ended.
    assert spans[11][0] < ends[6]
