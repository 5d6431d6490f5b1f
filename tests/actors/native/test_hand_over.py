"""A ref that is handed from process to process, while messages overtake each other and processes die."""

import gc
from contextlib import suppress

import pytest

from limelight.exceptions import RayError

from .simulation.relay import Relay
from .simulation.world import World
from .test_borrowing import check_end, collections_at_known_times  # noqa: F401 - a fixture

SCHEDULES = 60

pytestmark = pytest.mark.usefixtures("collections_at_known_times")


def run(seed, padding=b"", streamed=False, dies=None):
    world = World(seed, 4)
    try:
        relay = Relay(world, padding, streamed)
        world.slow_lanes(0.25)
        world.work = relay.act
        doomed = world.random.randint(20, 250) if dies is not None else None
        began = world.steps
        while not relay.taken and world.steps < began + 10_000:
            world.step()
            if doomed is not None and (world.steps > began + doomed or says_much(world, dies)):
                world.kill(world.processes[dies])
                break
        world.work = None
        world.settle()
        if dies is None:
            (ref,) = relay.taken
            with relay.taker.working():
                assert relay.taker.runtime.get([ref], None) == [[padding]]
        else:
            ref = None
            for ref in relay.taken:
                with relay.taker.working(), suppress(RayError):
                    relay.taker.runtime.get([ref], None)
        del ref
        for process in world.processes:
            with process.acting():
                relay.drop_all()
        gc.collect()
        check_end(world)
    finally:
        world.close()


def says_much(world, number):
    """Now and then, that a process has said things to several others that have not arrived."""
    mine = world.processes[number].id
    saying = sum(source == mine and bool(events) for (source, _), events in world.lanes.items())
    return saying > 1 and world.random.random() < 0.2


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("padding", [b"", b"x" * 1000], ids=["small", "large"])
def test_it_arrives_and_is_freed_when_the_last_lets_go(padding, streamed):
    for seed in range(SCHEDULES):
        run(seed, padding, streamed)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("dies", [1, 2, 3], ids=["caller", "keeper", "taker"])
def test_whoever_dies_on_the_way_leaves_nothing(dies, streamed):
    for seed in range(SCHEDULES):
        run(seed, b"", streamed, dies)
