"""What callers ask of whom while demand moves between nodes that are full, drain, join and die.

The lease classes and the demand split of the callers are the real ones, and so are the nodes' lease machines and the
head's scheduler. Every task runs once, whatever happens; no caller gets more workers than it wants; nothing is left.
"""

import pytest

from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.strategy import HYBRID, LeaseSpec, Spread

from .caller import Work
from .cluster import SimCluster
from .test_cluster import check_runs, finish
from .world import Faults

NETWORK = Faults(late=0.05, doubled=0.02, lost=0.02)
SEEDS = range(8)


def scene(seed, nodes=6):
    """A few small nodes, and a caller on each of three with classes of its own; returns how many tasks there are."""
    cluster = SimCluster(seed, NETWORK)
    for i in range(nodes):
        cluster.add_node(f"n{i}", {"CPU": 2 + i % 3})
    cluster.world.run(lambda: False, 0.5)
    random = cluster.world.random
    tasks = 0
    for i in range(3):
        caller = cluster.add_caller(f"c{i}", f"n{i}")
        for key in (b"a", b"b"):
            spec = LeaseSpec(ResourceSet.parse({"CPU": random.choice([0.5, 1, 2])}), random.choice([HYBRID, Spread()]))
            count = random.choice([5, 60, 300])
            at = random.random()
            work = Work(key, spec, random.choice([0.0003, 0.02, 0.2]))
            cluster.world.after(at, caller.submit, work, range(tasks, tasks + count))
            tasks += count
    cluster.world.run(lambda: False, cluster.world.now + 1.0)  # all have begun
    return cluster, tasks


def check(cluster, tasks):
    finish(cluster, within=90)
    lost = [caller for caller in cluster.callers.values() if not caller.alive]
    if not lost:
        check_runs(cluster, tasks)
    for caller in cluster.callers.values():
        assert caller.alive is False or caller.surplus == 0, f"{caller.name} got {caller.surplus} workers too many"
        for made in caller.classes.values():
            assert made.declared == 0 or not caller.alive
    for machine in cluster.nodes.values():
        for demand in machine.queue.demands.values():
            assert demand.wanted == 0, (machine.node_id, demand.key, "is still asked for workers")


@pytest.mark.parametrize("seed", SEEDS)
def test_demand_spills_over_and_is_met_once(seed):
    check(*scene(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_lost_node_was_asked_for_is_asked_elsewhere(seed):
    cluster, tasks = scene(seed)
    for i, node_id in enumerate(["n3", "n4", "n5"][: 1 + seed % 3]):
        cluster.world.after(0.1 + 0.3 * i, cluster.kill_node, node_id)
    check(cluster, tasks)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_draining_node_cannot_grant_goes_elsewhere(seed):
    cluster, tasks = scene(seed)
    cluster.world.after(0.1, cluster.to_node, "head", f"n{seed % 6}", m.Drain())
    check(cluster, tasks)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_lost_workers_had_is_asked_for_again(seed):
    cluster, tasks = scene(seed)
    for i in range(30):
        cluster.world.after(0.05 * i, cluster.kill_worker, f"n{i % 6}")
    check(cluster, tasks)
