"""Objects that many nodes copy from each other: all who live have them, no link carries them often, nothing is held."""

import pytest

from .copies import LOSS_NOTICED, SOON, CopyCluster, broadcast, traffic
from .copy_node import RATE

MIB = 1 << 20


@pytest.mark.parametrize(("size", "most_sent"), [(8 * MIB, 16), (64 * MIB, 6)], ids=["small", "large"])
def test_an_object_goes_to_2000_nodes_of_which_some_die_meanwhile(size, most_sent):
    cluster = CopyCluster(1, 2000)
    owner = cluster.add_owner()
    there = list(cluster.alive)
    seconds = broadcast(cluster, owner, 1, size, deaths=20)
    assert seconds < 12 * size / RATE + SOON + LOSS_NOTICED, "as long as a dozen copies, not 2000"
    (object_id,) = owner.entries
    assert sum(not node.alive for node in there) == 20
    assert all(object_id in node.copies for node in there if node.alive)
    assert owner.made[object_id] == 1
    cluster.settle(10.0)
    cluster.check(most_sent)


@pytest.mark.parametrize("seed", range(4))
def test_questions_that_nobody_answers_and_channels_that_are_lost_change_nothing(seed):
    cluster = CopyCluster(seed, 150, faults=0.01)
    owner = cluster.add_owner()
    for number, size in enumerate((8 * MIB, 100 * MIB)):
        broadcast(cluster, owner, number, size, deaths=3)
    cluster.settle(60.0)
    for object_id in owner.entries:
        assert sum(object_id in node.copies for node in cluster.alive) >= 144
    cluster.check(most_sent=16)


@pytest.mark.parametrize("seed", range(4))
def test_objects_of_many_owners_are_had_wherever_they_are_read(seed):
    cluster = CopyCluster(seed, 60, faults=0.01)
    traffic(cluster, reads=1000, objects=20, size=16 * MIB, deaths=8)
    cluster.settle(120.0)
    cluster.check(most_sent=20)


def test_equal_seeds_give_equal_runs():
    runs = []
    for _ in range(2):
        cluster = CopyCluster(3, 30, faults=0.02)
        traffic(cluster, reads=300, objects=5, size=16 * MIB, deaths=4)
        cluster.settle(60.0)
        runs.append((cluster.world.now, [node.sent for node in cluster.everybody]))
    assert runs[0] == runs[1]
