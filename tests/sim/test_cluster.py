"""The whole scheduler in a simulated cluster: every task runs, nothing leaks, and a seed tells the whole story."""

from collections import Counter

import pytest

from limelight.cluster.scheduling.labels import parse_selector
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.strategy import HYBRID, LeaseSpec, NodeAffinity, Spread

from .caller import Work
from .cluster import SimCluster
from .world import Faults

BAD_NETWORK = Faults(late=0.02, doubled=0.02, lost=0.02)
SHAPES = [({"CPU": 1}, HYBRID), ({"CPU": 1}, Spread()), ({"CPU": 2}, HYBRID), ({"GPU": 0.5}, HYBRID)]


def build(seed, nodes, faults=BAD_NETWORK):
    cluster = SimCluster(seed, faults)
    for i in range(nodes):
        gpus = {"GPU": 2} if i % 4 == 0 else {}
        cluster.add_node(f"n{i}", {"CPU": 4, **gpus}, {"zone": "ab"[i % 2]})
    return cluster


def load(cluster, callers, tasks, seconds=0.2, shapes=SHAPES, blocking=0.0):
    """Callers on nodes apart, each with a class of its own; returns how many tasks there are."""
    names = list(cluster.nodes)
    for i in range(callers):
        amounts, strategy = shapes[i % len(shapes)]
        caller = cluster.add_caller(f"c{i}", names[i * 7 % len(names)])
        work = Work(b"x", LeaseSpec(ResourceSet.parse(amounts), strategy), seconds, blocking)
        caller.submit(work, range(i * tasks, (i + 1) * tasks))
    return callers * tasks


def finish(cluster, within):
    """Run to the end of all tasks, then until the dust has settled; checks the books all along."""
    while not cluster.world.run(lambda: all(c.done() for c in cluster.callers.values()), cluster.world.now + 0.5):
        cluster.check_books()
        assert cluster.world.now < within, waiting(cluster)
    ended = cluster.world.now
    cluster.world.run(lambda: False, ended + 4)
    cluster.check_books()
    cluster.check_empty()
    return ended


def waiting(cluster):
    """For a failure: who still waits for what."""
    works = [
        (c.name, len(w.pending), w.running, len(w.leases)) for c in cluster.callers.values() for w in c.works.values()
    ]
    return [work for work in works if any(work[1:])][:10]


def check_runs(cluster, total):
    """Every task ended exactly once, and was started once more for each time its worker was lost."""
    finished = {}
    for caller in cluster.callers.values():
        if caller.alive:
            finished.update(caller.finished)
            assert sum(caller.started.values()) == len(caller.finished) + caller.failures
    assert set(finished.values()) <= {1}
    assert len(finished) == total


def test_every_task_runs_once_on_a_good_network():
    cluster = build(1, 20, Faults())
    total = load(cluster, 8, 200)
    finish(cluster, within=60)
    check_runs(cluster, total)


def test_every_task_runs_once_on_a_bad_network():
    cluster = build(2, 20)
    total = load(cluster, 8, 200)
    finish(cluster, within=60)
    check_runs(cluster, total)


def test_equal_seeds_are_equal_runs_and_others_are_not():
    traces = []
    for seed in (3, 3, 4):
        cluster = build(seed, 10)
        load(cluster, 6, 50)
        finish(cluster, within=60)
        traces.append(cluster.world.trace())
    assert traces[0] == traces[1] != traces[2]


def test_the_whole_cluster_works_for_one_caller():
    cluster = build(5, 50, Faults())
    total = load(cluster, 1, 2000, shapes=[({"CPU": 1}, HYBRID)])
    ended = finish(cluster, within=60)
    check_runs(cluster, total)
    assert ended < 1.35 * total * 0.2 / 200, "2,000 tasks of 0.2 s on 200 CPUs"


def test_nodes_workers_and_callers_may_die():
    cluster = build(6, 20)
    total = load(cluster, 8, 200)
    for i in range(5):
        cluster.world.after(0.5 + i * 0.4, cluster.kill_node, f"n{i * 4 + 1}")
    for i in range(40):
        cluster.world.after(0.2 + i * 0.1, cluster.kill_worker, f"n{i % 20}")
    dead = cluster.callers["c2"]
    cluster.world.after(1.0, dead.die)
    finish(cluster, within=90)
    survivors = [caller for caller in cluster.callers.values() if caller.alive]
    assert sum(caller.failures for caller in survivors) > 10
    assert 4 <= len(survivors) < 8
    check_runs(cluster, total - 200 * (8 - len(survivors)))


def test_a_node_that_joins_is_put_to_use():
    cluster = SimCluster(7)
    cluster.add_node("n0", {"CPU": 2})
    total = load(cluster, 1, 200, shapes=[({"CPU": 1}, HYBRID)])
    cluster.world.after(2.0, cluster.add_node, "n1", {"CPU": 16})
    assert finish(cluster, within=60) < 8
    check_runs(cluster, total)


def test_what_nobody_can_run_is_told_and_runs_when_a_node_comes():
    cluster = SimCluster(8)
    cluster.add_node("n0", {"CPU": 2})
    total = load(cluster, 1, 5, shapes=[({"TPU": 1}, HYBRID)])
    cluster.world.run(lambda: False, 1.0)
    (said,) = cluster.callers["c0"].infeasible
    assert "TPU" in said.text
    cluster.add_node("n1", {"CPU": 2, "TPU": 4})
    finish(cluster, within=60)
    check_runs(cluster, total)


def test_blocked_workers_make_room_for_others():
    cluster = SimCluster(9, BAD_NETWORK)
    cluster.add_node("n0", {"CPU": 2})
    total = load(cluster, 2, 40, seconds=0.02, shapes=[({"CPU": 1}, HYBRID)], blocking=0.5)
    assert finish(cluster, within=60) < 80 * 0.5 / 2, "they wait at the same time"
    check_runs(cluster, total)


def test_a_caller_with_few_tasks_is_not_starved_by_one_with_many():
    cluster = SimCluster(10, BAD_NETWORK)
    for i in range(4):
        cluster.add_node(f"n{i}", {"CPU": 4})
    one = LeaseSpec(ResourceSet.parse({"CPU": 1}))
    greedy = cluster.add_caller("greedy", "n0")
    greedy.submit(Work(b"many", one, 0.1), range(4000))
    small, large = cluster.add_caller("small", "n0"), cluster.add_caller("large", "n1")
    cluster.world.after(2.0, small.submit, Work(b"few", one, 0.1), range(10_000, 10_010))
    whole = LeaseSpec(ResourceSet.parse({"CPU": 4}))
    cluster.world.after(2.0, large.submit, Work(b"whole", whole, 0.1), range(20_000, 20_003))
    assert cluster.world.run(lambda: len(small.finished) == 10 and len(large.finished) == 3, 20.0)
    assert not greedy.done()
    finish(cluster, within=90)


def test_labels_and_affinity_are_kept():
    cluster = build(11, 12)
    for i, spec in enumerate(
        [
            LeaseSpec(ResourceSet.parse({"CPU": 1}), label_selector=parse_selector({"zone": "b"})),
            LeaseSpec(ResourceSet.parse({"CPU": 1}), NodeAffinity("n5")),
        ]
    ):
        caller = cluster.add_caller(f"c{i}", "n0")
        caller.submit(Work(b"x", spec, 0.1), range(i * 100, i * 100 + 100))
    where = {"c0": set(), "c1": set()}
    for caller in cluster.callers.values():
        heard = caller.hear
        caller.hear = lambda node, message, heard=heard, name=caller.name: (
            where[name].add(node) if type(message).__name__ == "Grant" else None,
            heard(node, message),
        )
    finish(cluster, within=60)
    check_runs(cluster, 200)
    assert where["c0"] <= {f"n{i}" for i in range(1, 12, 2)}
    assert len(where["c0"]) > 1
    assert where["c1"] == {"n5"}


def granted_where(cluster):
    """Counts grants by node as callers hear of them."""
    where = Counter()
    for caller in cluster.callers.values():
        heard = caller.hear
        caller.hear = lambda node, message, heard=heard: (
            where.update([node] if type(message).__name__ == "Grant" else []),
            heard(node, message),
        )
    return where


def test_tasks_go_where_their_large_arguments_lie():
    cluster = build(13, 12, Faults())
    cluster.world.run(lambda: False, 1.0)  # the nodes know of each other
    caller = cluster.add_caller("c", "n0")
    where = granted_where(cluster)
    one = LeaseSpec(ResourceSet.parse({"CPU": 1}))
    caller.submit(Work(b"x", one, 0.1, locality=(("n5", 9 << 20), ("n7", 1 << 20))), range(4))
    finish(cluster, within=60)
    check_runs(cluster, 4)
    assert where == {"n5": 4}, "one node has room for all of them"


def test_arguments_on_a_full_node_keep_no_task_waiting():
    cluster = build(14, 12, Faults())
    cluster.world.run(lambda: False, 1.0)
    hog, caller = cluster.add_caller("hog", "n5"), cluster.add_caller("c", "n0")
    where = granted_where(cluster)
    one = LeaseSpec(ResourceSet.parse({"CPU": 1}))
    hog.submit(Work(b"x", LeaseSpec(ResourceSet.parse({"CPU": 4}), NodeAffinity("n5")), 10.0), range(1))
    cluster.world.run(lambda: bool(where), 5.0)
    cluster.world.run(lambda: False, cluster.world.now + 0.5)  # the head knows that n5 is full
    began = cluster.world.now
    caller.submit(Work(b"x", one, 0.1, locality=(("n5", 9 << 20), ("n7", 1 << 20))), range(10, 14))
    cluster.world.run(caller.done, began + 5)
    assert caller.done()
    assert cluster.world.now < began + 2
    assert where == {"n5": 1, "n7": 4}, "the next best"
    finish(cluster, within=60)
    check_runs(cluster, 5)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_thousand_nodes_run_two_hundred_thousand_tasks():
    cluster = build(12, 1000)
    total = load(cluster, 40, 5000)
    for i in range(10):
        cluster.world.after(0.5 + i * 0.5, cluster.kill_node, f"n{i * 97 + 50}")
    finish(cluster, within=120)
    lost = [caller for caller in cluster.callers.values() if not caller.alive]
    check_runs(cluster, total - 5000 * len(lost))
