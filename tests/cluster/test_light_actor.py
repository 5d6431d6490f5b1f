"""Light actors and the processes that host them."""

import os
import time

from tests.chaos.worker_killer import workers

DEADLINE = 30.0


def light_class(ll):
    @ll.remote(isolation="shared")
    class Light:
        def pid(self):
            return os.getpid()

        def leave(self):
            ll.actor.exit_actor()

    return Light


def test_new_ones_come_where_the_last_one_has_just_gone(ll_local):
    """The end of the last actor of a host process must not take those with it that are on their way there."""
    import limelight as ll

    light = light_class(ll)
    for _ in range(200):
        assert ll.get(light.remote().pid.remote(), timeout=DEADLINE)
    for _ in range(20):
        crowd = [light.remote() for _ in range(20)]
        assert len(ll.get([one.pid.remote() for one in crowd], timeout=DEADLINE)) == 20
        del crowd


def test_one_that_exits_leaves_its_neighbours_alone(ll_local):
    import limelight as ll

    light = light_class(ll)
    crowd = [light.remote() for _ in range(20)]
    pids = ll.get([one.pid.remote() for one in crowd], timeout=DEADLINE)
    for one in crowd[::2]:
        one.leave.remote()
    assert ll.get([one.pid.remote() for one in crowd[1::2]], timeout=DEADLINE) == pids[1::2]


def test_processes_without_light_actors_end_and_others_take_their_place(ll_local):
    import limelight as ll

    light = light_class(ll)
    crowd = [light.remote() for _ in range(20)]
    hosts = set(ll.get([one.pid.remote() for one in crowd], timeout=DEADLINE))
    del crowd
    deadline = time.monotonic() + DEADLINE
    while hosts & {worker.pid for worker in workers()} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not hosts & {worker.pid for worker in workers()}
    assert ll.get(light.remote().pid.remote(), timeout=DEADLINE) not in hosts
