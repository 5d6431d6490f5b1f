"""The autoscaler with a simulated cloud: all work gets done, nothing busy is ended, bounds hold, and all of it goes."""

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from limelight.cluster.autoscaler.config import ScalingConfig
from limelight.cluster.provider.instance import NodeType
from limelight.cluster.scheduling.resources import ResourceSet

from .cloud import Cloud, Weather

BAD_WEATHER = Weather(lost=0.2, refused=0.3, errored=0.1, mute=0.1)


def config(max_workers=20, most=20, **options):
    types = [
        NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 4}), min_workers=1, max_workers=most),
        NodeType(name="big", resources=ResourceSet.parse({"CPU": 32}), max_workers=most),
        NodeType(name="gpu", resources=ResourceSet.parse({"CPU": 8, "GPU": 2}), max_workers=4),
    ]
    options = {"idle_timeout": 60, "launch_timeout": 120, "max_backoff": 60, "answer_timeout": 10, **options}
    return ScalingConfig(node_types={one.name: one for one in types}, max_workers=max_workers, **options)


def quiet(cloud):
    """All that is left are the machines that there always are."""
    return sum(cloud.queue.values()) == 0 and [one.node_type for one in cloud.instances.values()] == ["cpu"]


def made(cloud):
    return Counter(name.split("-")[0] for name in cloud.made)


def check(cloud):
    assert cloud.violations == []
    assert max(cloud.made.values()) == 1, "no name is made twice"
    assert cloud.most["all"] <= cloud.config.max_workers
    for name, node_type in cloud.config.node_types.items():
        assert cloud.most[name] <= node_type.max_workers


def test_a_burst_gets_the_machines_it_needs_and_they_go_again():
    cloud = Cloud(1, config())
    cloud.submit({"CPU": 1}, 64, seconds=100)
    cloud.submit({"GPU": 1}, 4, seconds=100)
    cloud.run(lambda: cloud.finished == 68, within=600)
    cloud.run(lambda: quiet(cloud), within=300)
    # 64 CPUs: 16 of the machines with GPUs, which are needed in any case, 32, and four times 4.
    assert made(cloud) == {"gpu": 2, "big": 1, "cpu": 4}
    check(cloud)


@pytest.mark.parametrize("seed", range(5))
def test_lost_late_and_double_answers_launch_nothing_twice(seed):
    """Answers, listings and ends get lost, but nothing fails: exactly as many machines come as on a good day."""
    cloud = Cloud(seed, config(), Weather(lost=0.4))
    cloud.submit({"CPU": 1}, 64, seconds=200)
    cloud.run(lambda: cloud.finished == 64, within=1000)
    assert made(cloud) == {"big": 1, "cpu": 8}
    check(cloud)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 60), min_size=1, max_size=4), st.booleans())
@example(10_000, [24, 56, 47, 1], False)  # the wish that machines end is lost, and others come for them
def test_all_work_gets_done_in_bad_weather_and_across_restarts(seed, bursts, restart):
    cloud = Cloud(seed, config(), BAD_WEATHER)
    for i, count in enumerate(bursts):
        cloud.submit({"CPU": 1 + i % 3}, count, seconds=30)
        cloud.submit({"GPU": 0.5}, count % 7, seconds=30)
        cloud.world.run(lambda: False, cloud.world.now + 50)
        if restart:
            cloud.start()
    total = sum(count + count % 7 for count in bursts)
    cloud.run(lambda: cloud.finished == total, within=5000)
    cloud.calm()
    cloud.run(lambda: quiet(cloud), within=2000)
    cloud.world.run(lambda: False, cloud.world.now + 300)
    assert quiet(cloud), "and it stays quiet"
    assert cloud.violations == []
    assert max(cloud.made.values()) == 1
    if not restart:  # a new one does not know of instances that are still being made
        check(cloud)


def grown(machines):
    """A cluster of so many machines, all busy, in which a little comes and goes."""
    cloud = Cloud(1, config(max_workers=machines + 50, most=machines + 50, upscaling_speed=1000.0, idle_timeout=1e6),
                  Weather(boot=1.0))  # fmt: skip
    cloud.submit({"CPU": 4}, machines * 4, seconds=1e6)
    cloud.submit({"CPU": 32}, machines // 2, seconds=1e6)
    cloud.run(lambda: len(cloud.nodes) >= machines, within=100)
    return cloud


def work_of_a_decision(cloud, monkeypatch):
    """How many rooms the decisions look at while 200 small things come and go."""
    cloud.submit({"GPU": 1}, 1, seconds=2)  # what is asked for for the first time has it look at all nodes once
    cloud.world.run(lambda: False, cloud.world.now + 5)
    from limelight.cluster.autoscaler.room import Room

    looked = 0
    capacity = Room.capacity

    def counting(self, *args):
        nonlocal looked
        looked += 1
        return capacity(self, *args)

    monkeypatch.setattr(Room, "capacity", counting)
    cloud.spent, cloud.decisions = 0.0, 0
    for _ in range(20):
        cloud.submit({"CPU": 1}, 10, seconds=2)
        cloud.submit({"GPU": 1}, 1, seconds=2)
        cloud.world.run(lambda: False, cloud.world.now + 5)
    monkeypatch.setattr(Room, "capacity", capacity)
    return looked / cloud.decisions, cloud.spent / cloud.decisions * 1e6


@pytest.mark.slow
def test_a_decision_costs_as_much_with_2000_machines_as_with_100(monkeypatch, record_property):
    small, small_us = work_of_a_decision(grown(100), monkeypatch)
    large, large_us = work_of_a_decision(grown(2000), monkeypatch)
    record_property("microseconds", {100: round(small_us), 2000: round(large_us)})
    assert large <= 2 * small
