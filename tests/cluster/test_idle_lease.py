"""What a task's lease holds is free again soon after its last task."""

import time

import pytest

import limelight as ll


@pytest.fixture(scope="module", autouse=True)
def session():
    ll.init(num_cpus=2)
    yield
    ll.shutdown()


def test_an_idle_lease_is_given_back_for_good():
    @ll.remote
    def one():
        return 1

    assert ll.get([one.remote() for _ in range(4)]) == [1] * 4
    deadline = time.monotonic() + 10
    seen = []
    while seen[-5:] != [2.0] * 5:  # not just between two grants
        assert time.monotonic() < deadline, seen[-20:]
        seen.append(ll.available_resources().get("CPU"))
        time.sleep(0.1)
