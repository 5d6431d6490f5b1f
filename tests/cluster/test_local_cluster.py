"""Several nodes on one machine: where work goes, how objects travel, and what a driver that joins leaves behind."""

import os
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest

import limelight as ll
from limelight.cluster_utils import Cluster
from limelight.exceptions import GetTimeoutError, TaskUnschedulableError
from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .cluster_program import PATIENCE, Counter, at, digest, eventually, expected, idle, noise, runs, where


class TestPlacement:
    def test_a_burst_of_tasks_uses_all_nodes(self, cluster) -> None:
        places = ll.get([where.remote(0.2) for _ in range(8)])
        assert set(places) == {cluster.head_node.node_id, cluster.east.node_id}

    def test_spread_uses_all_nodes(self, cluster) -> None:
        idle()
        spread = where.options(scheduling_strategy="SPREAD")
        places = ll.get([spread.remote(0.3) for _ in range(2)])  # which either node alone had room for
        assert set(places) == {cluster.head_node.node_id, cluster.east.node_id}

    def test_affinity_chooses_the_node(self, cluster) -> None:
        for node in cluster.list_all_nodes():
            assert ll.get(where.options(scheduling_strategy=at(node)).remote()) == node.node_id

    def test_affinity_to_a_node_that_is_not_there(self, cluster) -> None:
        nowhere = "00" * 28
        hard = where.options(scheduling_strategy=NodeAffinitySchedulingStrategy(nowhere, soft=False))
        with pytest.raises(TaskUnschedulableError, match="not in the cluster"):
            ll.get(hard.remote())
        soft = where.options(scheduling_strategy=NodeAffinitySchedulingStrategy(nowhere, soft=True))
        assert ll.get(soft.remote())

    def test_labels_choose_the_node(self, cluster) -> None:
        assert ll.get(where.options(label_selector={"side": "east"}).remote()) == cluster.east.node_id
        assert ll.get(where.options(label_selector={"side": "!east"}).remote()) == cluster.head_node.node_id

    def test_custom_resources_choose_the_node_for_tasks_and_actors(self, cluster) -> None:
        assert ll.get(where.options(resources={"east": 1}).remote()) == cluster.east.node_id
        actor = Counter.options(resources={"east": 1}).remote()
        assert ll.get(actor.where.remote()) == cluster.east.node_id

    def test_actors_spread_over_the_nodes(self, cluster) -> None:
        actors = [Counter.options(num_cpus=1).remote() for _ in range(4)]
        assert set(ll.get([actor.where.remote() for actor in actors])) == {
            cluster.head_node.node_id,
            cluster.east.node_id,
        }

    def test_a_task_goes_where_its_large_arguments_lie(self, cluster) -> None:
        idle()
        east = at(cluster.east)
        large = [noise.options(scheduling_strategy=east).remote(seed) for seed in (7, 8)]
        small = ll.put(np.zeros(2_000_000, np.uint8))
        ll.wait(large, num_returns=2, fetch_local=False)
        idle()

        @ll.task
        def place(*arrays) -> str:
            return ll.get_runtime_context().get_node_id()

        assert ll.get(place.remote(*large, small)) == cluster.east.node_id
        idle()
        assert ll.get(place.options(num_cpus=2).remote(small)) == cluster.head_node.node_id

    def test_an_actor_that_holds_a_cpu_goes_where_its_large_arguments_lie(self, cluster) -> None:
        @ll.actor(num_cpus=1)
        class Reader:
            def __init__(self, array) -> None:
                self.size = array.size

            def where(self) -> str:
                return ll.get_runtime_context().get_node_id()

        for node in (cluster.east, cluster.head_node):
            made = noise.options(scheduling_strategy=at(node)).remote(3)
            ll.wait([made], fetch_local=False)
            idle()
            reader = Reader.remote(made)
            assert ll.get(reader.where.remote(), timeout=PATIENCE) == node.node_id
            ll.kill(reader)

    def test_of_a_burst_each_task_goes_where_its_argument_lies(self, cluster) -> None:
        idle()
        homes = [cluster.head_node, cluster.east]
        made = [noise.options(scheduling_strategy=at(homes[seed % 2])).remote(seed) for seed in range(12)]
        ll.wait(made, num_returns=len(made), fetch_local=False)
        idle()

        @ll.task
        def place(array) -> str:
            time.sleep(0.05)
            return ll.get_runtime_context().get_node_id()

        places = ll.get([place.remote(ref) for ref in made])
        hits = sum(node == homes[seed % 2].node_id for seed, node in enumerate(places))
        assert hits >= 9, "the last ones go where there is room"

    def test_what_no_node_can_hold_starts_when_one_comes_that_can(self, cluster) -> None:
        waiting = where.options(resources={"doomed": 1}).remote()
        actor = Counter.options(resources={"doomed": 1}).remote()
        alive = actor.where.remote()
        with pytest.raises(GetTimeoutError):
            ll.get(waiting, timeout=0.2)
        node = cluster.add_node(num_cpus=2, resources={"doomed": 8})
        assert ll.get([waiting, alive], timeout=PATIENCE) == [node.node_id, node.node_id]
        cluster.remove_node(node, allow_graceful=True)
        cluster.wait_for_nodes()

    def test_a_job_is_the_same_on_every_node(self, cluster) -> None:
        @ll.task
        def job():
            context = ll.get_runtime_context()
            return context.namespace, context.get_job_id()

        here = ll.get_runtime_context()
        there = ll.get(job.options(scheduling_strategy=at(cluster.east)).remote())
        assert there == (here.namespace, here.get_job_id())

    def test_named_actors_are_found_from_every_node(self, cluster) -> None:
        kept = Counter.options(name="everywhere", scheduling_strategy=at(cluster.head_node)).remote()

        @ll.task
        def find() -> int:
            return ll.get(ll.get_actor("everywhere").add.remote())

        assert ll.get(find.options(scheduling_strategy=at(cluster.east)).remote()) == 1
        del kept


class TestObject:
    def test_a_large_result_arrives_bit_by_bit(self, cluster) -> None:
        ref = noise.options(scheduling_strategy=at(cluster.east)).remote(1)
        assert np.array_equal(ll.get(ref), expected(1))

    def test_one_object_is_read_on_every_node(self, cluster, doomed) -> None:
        put, made = ll.put(expected(2)), noise.options(scheduling_strategy=at(cluster.east)).remote(3)
        nodes = cluster.list_all_nodes()
        for ref, seed in ((put, 2), (made, 3)):
            # Twice on each node at once: both wait for the same transfer.
            read = [digest.options(scheduling_strategy=at(node)).remote(ref) for node in nodes for _ in range(2)]
            assert set(ll.get(read)) == {(zlib.crc32(expected(seed)), node.node_id) for node in nodes}

    def test_what_a_task_makes_of_anothers_result_on_another_node(self, cluster) -> None:
        @ll.task
        def double(array):
            return array.astype(np.uint16) * 2

        first = noise.options(scheduling_strategy=at(cluster.east)).remote(4)
        second = double.options(scheduling_strategy=at(cluster.head_node)).remote(first)
        third = double.options(scheduling_strategy=at(cluster.east)).remote(second)
        assert np.array_equal(ll.get(third), expected(4).astype(np.uint16) * 4)

    def test_refs_inside_values_are_good_on_every_node(self, cluster) -> None:
        @ll.task
        def nested(box):
            return int(ll.get(box["ref"]).sum())

        box = {"ref": noise.options(scheduling_strategy=at(cluster.east)).remote(5)}
        assert ll.get(nested.options(scheduling_strategy=at(cluster.head_node)).remote(box)) == expected(5).sum()

    def test_large_arguments_go_where_the_task_is(self, cluster) -> None:
        @ll.task
        def total(array) -> int:
            return int(array.sum())

        assert ll.get(total.options(scheduling_strategy=at(cluster.east)).remote(expected(6))) == expected(6).sum()

    def test_more_goes_through_a_store_than_it_holds(self, cluster) -> None:
        size = 30_000_000
        for seed in range(8):  # 240 MB through stores of 150 MiB: copies must go, or be freed with their objects
            ref = noise.options(scheduling_strategy=at(cluster.east)).remote(seed, size)
            assert int(ll.get(ref)[-1]) == int(expected(seed, size)[-1])
            del ref


DRIVER = """
import sys, time, limelight as ll
ll.init(sys.argv[1], namespace="guest")

@ll.actor
class Guest:
    def pid(self):
        import os
        return os.getpid()

@ll.task
def stay():
    time.sleep(600)

kept = Guest.options(name="kept", lifetime="detached").remote()
gone = [Guest.options(num_cpus=0.5).remote() for _ in range(2)]
running = [stay.remote() for _ in range(2)]
pids = ll.get([actor.pid.remote() for actor in gone])
print(len(ll.nodes()), *pids, flush=True)
if sys.argv[2] == "leave":
    ll.shutdown()
else:
    time.sleep(600)
"""


class TestDriver:
    @pytest.mark.parametrize("way", ["leave", "die"])
    def test_a_guest_leaves_nothing_but_what_is_detached(self, cluster, way) -> None:
        idle()
        address = cluster.address if way == "leave" else "auto"
        guest = subprocess.Popen([sys.executable, "-c", DRIVER, address, way], stdout=subprocess.PIPE, text=True)
        try:
            _, *pids = guest.stdout.readline().split()
            assert len(pids) == 2
            if way == "die":
                guest.kill()
            guest.wait(PATIENCE)
        finally:
            guest.kill()
            guest.wait()
            guest.stdout.close()
        eventually(lambda: not any(runs(pid) for pid in pids))
        idle()
        kept = ll.get_actor("kept", namespace="guest")
        assert ll.get(kept.pid.remote())
        ll.kill(kept)
        idle()

    def test_the_environment_says_which_cluster(self, cluster) -> None:
        script = "import limelight as ll; ll.init(); print(len([n for n in ll.nodes() if n['Alive']]))"
        environment = {**os.environ, "LIMELIGHT_ADDRESS": cluster.address}
        out = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert out.stdout.split() == ["2"]

    def test_lines_printed_on_another_node_reach_the_driver(self, cluster) -> None:
        script = (
            "import sys, limelight as ll; ll.init(sys.argv[1])\n"
            "@ll.task(resources={'east': 1})\n"
            "def speak(): print('from the east')\n"
            "ll.get(speak.remote()); ll.shutdown()"
        )
        out = subprocess.run(
            [sys.executable, "-c", script, cluster.address], capture_output=True, text=True, timeout=60, check=False
        )
        assert "from the east" in out.stdout + out.stderr


def init_elsewhere(*arguments: str) -> str:
    """What `init` says, in a process of its own."""
    script = "import limelight as ll\ntry: ll.init({})\nexcept Exception as e: print(type(e).__name__, e)"
    code = script.format(", ".join(arguments))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return out.stdout


class TestAddress:
    def test_nobody_there(self, cluster) -> None:
        said = init_elsewhere("'127.0.0.1:1'")
        assert said.startswith("ConnectionError There is no cluster at '127.0.0.1:1'")
        assert cluster.address in said

    def test_the_nodes_are_as_they_are(self, cluster) -> None:
        assert init_elsewhere(f"'{cluster.address}'", "num_cpus=3").startswith("ValueError num_cpus cannot be given")

    def test_another_clusters_token(self, cluster) -> None:
        said = init_elsewhere(f"'{cluster.address}'", f"token='{'00' * 32}'")
        assert said.startswith("ConnectionError")
        assert "token" in said


class TestCluster:
    def test_the_drivers_own_node_stays(self, cluster) -> None:
        with pytest.raises(ValueError, match="connected to"):
            cluster.remove_node(cluster.head_node)

    def test_unknown_arguments_name_the_nearest(self, cluster) -> None:
        with pytest.raises(TypeError, match="num_cpus"):
            cluster.add_node(num_cpu=1)

    def test_a_cluster_without_a_head_has_no_address(self) -> None:
        assert Cluster().address is None
        with pytest.raises(RuntimeError, match="initialize_head"):
            Cluster(connect=True)

    def test_nodes_end_without_their_head(self) -> None:
        other = Cluster(initialize_head=True)
        node = other.add_node()
        other.remove_node(other.head_node)
        eventually(lambda: not node.is_alive())
        other.shutdown()
