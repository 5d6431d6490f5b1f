"""Where tasks go that are submitted one after the other: as if each were the first, though leases are used again."""

from collections import Counter
from types import SimpleNamespace

import pytest

from limelight.cluster.scheduling.lease_config import LeaseConfig
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.strategy import HYBRID, LeaseSpec, NodeAffinity, Spread

from .caller import Work
from .cluster import SimCluster
from .test_cluster import build, check_runs, finish
from .world import Faults

ONE = ResourceSet.parse({"CPU": 1})
SECONDS = 0.02


def built(nodes):
    """So many nodes of four CPUs that the head knows."""
    cluster = SimCluster(16, Faults(), LeaseConfig())
    for number in range(nodes):
        cluster.add_node(f"n{number}", {"CPU": 4})
    cluster.world.run(lambda: False, 1.0)
    return cluster


@pytest.fixture
def scene():
    """Twelve nodes that know of each other, and a caller on n0; `scene.run` runs a task and says where it ran."""
    cluster = build(16, 12, Faults())
    cluster.world.run(lambda: False, 1.0)
    scene = SimpleNamespace(cluster=cluster, caller=cluster.add_caller("c", "n0"), tasks=0, spec=LeaseSpec(ONE))

    def run(*locality, count=1):
        work = Work(b"x", scene.spec, SECONDS, locality=locality)
        work.last_start = cluster.world.now
        numbers = range(scene.tasks, scene.tasks + count)
        scene.tasks += count
        if work.key in scene.caller.classes:
            scene.caller.submit_more(work, numbers)
        else:
            scene.caller.submit(work, numbers)
        deadline = cluster.world.now + 10
        while not set(numbers) <= set(scene.caller.finished):
            assert cluster.world.now < deadline
            cluster.world.run(lambda: False, cluster.world.now + 0.001)
        scene.waited = work.longest_wait
        return [scene.caller.ran_at[number] for number in numbers] if count > 1 else scene.caller.ran_at[numbers[0]]

    scene.run = run
    return scene


def end(scene):
    finish(scene.cluster, within=60)
    check_runs(scene.cluster, scene.tasks)


def test_a_task_goes_to_its_large_argument_though_there_is_an_idle_lease_at_home(scene):
    assert scene.run() == "n0"
    assert scene.run(("n5", 100 << 20)) == "n5"
    assert scene.run() == "n0", "and one without goes home"
    assert scene.run(("n7", 100 << 20)) == "n7"
    assert scene.run(("n5", 100 << 20)) == "n5"
    end(scene)


def test_a_task_whose_arguments_lie_here_is_not_run_where_the_last_one_was(scene):
    assert scene.run(("n5", 100 << 20)) == "n5"
    assert scene.run(("n0", 100 << 20)) == "n0"
    end(scene)


def test_little_is_fetched_rather_than_gone_after(scene):
    assert scene.run() == "n0"
    assert scene.run(("n5", 1 << 10)) == "n0"
    end(scene)


def test_a_node_without_room_is_waited_for_no_longer_than_fetching_takes(scene):
    hog = scene.cluster.add_caller("hog", "n5")
    everything = ResourceSet.of_units(scene.cluster.nodes["n5"].ledger.total.units())
    hog.submit(Work(b"h", LeaseSpec(everything, NodeAffinity("n5")), 30.0), range(1000, 1001))
    scene.cluster.world.run(lambda: False, scene.cluster.world.now + 0.5)
    assert scene.run() == "n0"
    assert scene.run(("n5", 100 << 20)) != "n5"
    assert scene.waited <= (100 << 20) / 5e8 + 0.05
    finish(scene.cluster, within=90)


def test_tasks_without_arguments_go_meanwhile(scene):
    assert scene.run() == "n0"
    class_ = scene.caller.classes[b"x"]
    far = Work(b"x", scene.spec, SECONDS, locality=(("n5", 100 << 20),))
    near = Work(b"x", scene.spec, SECONDS)
    scene.caller.submit_more(far, range(100, 101))
    scene.caller.submit_more(near, range(101, 102))
    scene.tasks += 2
    end(scene)
    assert not class_.queue
    assert scene.caller.ran_at[100] == "n5"
    assert scene.caller.ran_at[101] == "n0"


def test_what_comes_after_a_burst_is_run_at_home(scene):
    places = scene.run(count=40)
    assert len(set(places)) > 1
    assert scene.run() == "n0"
    end(scene)


@pytest.mark.parametrize("nodes", [2, 3])
@pytest.mark.parametrize("each", [2, 4, 20])
def test_each_burst_of_short_tasks_reaches_all_nodes(nodes, each):
    """Of four CPUs: there is room for all of a burst at once, or not. One comes as soon as the last one has ended."""
    scene = SimpleNamespace(cluster=built(nodes), tasks=0)
    caller = scene.cluster.add_caller("c", "n0")
    work = Work(b"x", LeaseSpec(ONE, Spread()), 0.00005)
    for _ in range(5):
        numbers = range(scene.tasks, scene.tasks + each * nodes)
        scene.tasks += len(numbers)
        (caller.submit_more if work.key in caller.classes else caller.submit)(work, numbers)
        deadline = scene.cluster.world.now + 10
        while not set(numbers) <= set(caller.finished):
            assert scene.cluster.world.now < deadline
            scene.cluster.world.run(lambda: False, scene.cluster.world.now + 0.0005)
        counts = Counter(caller.ran_at[number] for number in numbers)
        assert len(counts) == nodes, counts
        assert min(counts.values()) >= each // 4, counts
    end(scene)


def test_two_sequences_at_once_are_each_spread(scene):
    """One task is always there while another ends and the next one comes, in the same moment."""
    scene.spec = LeaseSpec(ONE, Spread())
    places = [scene.run(count=2) for _ in range(12)]
    assert len({place for pair in places for place in pair}) == 12


@pytest.mark.parametrize(("strategy", "nodes"), [(Spread(), 12), (HYBRID, 1)])
def test_each_of_a_sequence_is_spread_or_stays(scene, strategy, nodes):
    scene.spec = LeaseSpec(ONE, strategy)
    places = [scene.run() for _ in range(12)]
    assert len(set(places)) == nodes, places
    end(scene)
