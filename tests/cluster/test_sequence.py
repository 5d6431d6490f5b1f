"""Tasks that are run one after the other go where each of them belongs, though leases are used again."""

from collections import Counter

import numpy as np
import pytest

import limelight as ll
from limelight.cluster_utils import Cluster
from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .cluster_hosts import until
from .cluster_program import PATIENCE

MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of four CPUs; the program is at the first."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "object_store_memory": 600 * MIB})
    made.other = made.add_node(num_cpus=4, object_store_memory=600 * MIB)
    ll.init(made.address)
    yield made
    ll.shutdown()
    made.shutdown()


@ll.remote
def where(*_arguments):
    return ll.get_runtime_context().get_node_id()


@ll.remote
def block(megabytes):
    return np.zeros(megabytes * MIB, np.uint8)


def run(*arguments, **options):
    return ll.get(where.options(**options).remote(*arguments), timeout=PATIENCE)


def all_is_free():
    return ll.available_resources().get("CPU") == 8


def block_at(node_id, megabytes):
    ref = block.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(megabytes)
    ll.wait([ref], timeout=PATIENCE, fetch_local=False)
    return ref


def test_a_task_goes_to_its_large_argument_and_the_next_one_comes_home(cluster) -> None:
    home, other = cluster.head_node.node_id, cluster.other.node_id
    far, here = block_at(other, 400), block_at(home, 400)
    assert [run(), run(far), run(), run(here), run(far)] == [home, other, home, home, other]


def test_a_small_argument_is_fetched(cluster) -> None:
    assert run() == cluster.head_node.node_id
    assert run(ll.put(b"x")) == cluster.head_node.node_id


def test_a_sequence_that_is_to_be_spread_is(cluster) -> None:
    assert len({run(scheduling_strategy="SPREAD") for _ in range(6)}) == 2


@pytest.mark.parametrize("count", [4, 8, 40])
def test_bursts_that_are_to_be_spread_are(cluster, count) -> None:
    """Also one for which there is not room for all at once. A node that is late, for the machine is busy, has none."""
    spread = where.options(scheduling_strategy="SPREAD")
    rounds = []
    for _ in range(6):
        until(all_is_free, "the head knows that all CPUs are free", pause=0.01)
        rounds.append(Counter(ll.get([spread.remote() for _ in range(count)], timeout=PATIENCE)))
    assert sum(len(nodes) == 2 for nodes in rounds) > len(rounds) // 2, rounds


def test_actors_that_are_to_be_spread_are(cluster) -> None:
    @ll.remote(num_cpus=1, scheduling_strategy="SPREAD")
    class Where:
        def node(self):
            return ll.get_runtime_context().get_node_id()

    until(all_is_free, "the head knows that all CPUs are free", pause=0.01)
    actors = [Where.remote() for _ in range(4)]
    nodes = Counter(ll.get([actor.node.remote() for actor in actors], timeout=PATIENCE))
    for actor in actors:
        ll.kill(actor)
    assert sorted(nodes.values()) == [2, 2]


def test_who_had_to_go_elsewhere_is_back_as_soon_as_there_is_room(cluster) -> None:
    home, other = cluster.head_node.node_id, cluster.other.node_id
    soft = NodeAffinitySchedulingStrategy(other, soft=True, _spill_on_unavailable=True)

    @ll.remote(num_cpus=4, scheduling_strategy=NodeAffinitySchedulingStrategy(other, soft=False))
    class Hog:
        def ready(self):
            return True

    hog = Hog.remote()
    assert ll.get(hog.ready.remote(), timeout=PATIENCE)
    assert run(scheduling_strategy=soft) == home
    ll.kill(hog)
    for _ in range(200):  # each of them is sooner than a lease that falls idle would be given back
        if run(scheduling_strategy=soft) == other:
            return
    pytest.fail("all of 200 tasks ran where the first one had to go")
