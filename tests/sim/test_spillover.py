"""What callers ask of whom while demand moves between nodes that are full, drain, join and die.

The lease classes and the demand split of the callers are the real ones, and so are the nodes' lease machines and the
head's scheduler. Every task runs once, whatever happens; all that is wanted is asked of one node (`caller.Asked`
looks each time that something is asked); nothing is left.
"""

from types import SimpleNamespace

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


def test_a_node_that_passes_on_what_was_redirected_to_it_is_asked_no_more():
    cluster = SimCluster(0, Faults())
    for i in range(3):
        cluster.add_node(f"n{i}", {"CPU": 1})
    caller = cluster.add_caller("c", "n0")
    told = []
    caller.cluster = SimpleNamespace(
        nodes=cluster.nodes,
        run=cluster.run,
        meter=None,
        to_node=lambda _, node_id, event: told.append((node_id, event.wanted, event.seen_redirects)),
    )
    caller.submit(Work(b"x", LeaseSpec(ResourceSet.parse({"CPU": 1})), 1.0), range(1))
    cluster.world.run(lambda: False, 0.1)
    caller.hear("n0", m.Redirect("c", b"x", "n1", 1))
    assert {("n1", 1, 0), ("n0", 0, 1)} <= set(told)
    caller.hear("n1", m.Redirect("c", b"x", "n2", 1))
    assert told[-3:] == [("n1", 0, 1), ("n2", 1, 0), ("n0", 0, 1)], "it is wanted of the last one, and of nobody else"
    caller.hear("n2", m.Redirect("c", b"x", "n0", 1))
    assert told[-2:] == [("n2", 0, 1), ("n0", 1, 1)], "it may come home again"
