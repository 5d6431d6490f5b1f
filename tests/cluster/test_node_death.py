"""What becomes of tasks, actors and objects when their node dies."""

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import limelight as ll
from limelight.exceptions import (
    ActorDiedError,
    DeathKind,
    NodeDiedError,
    ObjectLostError,
    ObjectReconstructionFailedMaxAttemptsExceededError,
    OwnerDiedError,
)

from .cluster_program import PATIENCE, SIZE, Counter, alive, at, digest, eventually, expected, noise, runs


class TestNodeDeath:
    def test_the_state_says_so(self, cluster, doomed) -> None:
        cluster.remove_node(doomed)
        eventually(lambda: not alive(doomed))
        assert ll.cluster_resources()["CPU"] == 4
        assert "doomed" not in ll.cluster_resources()

    def test_its_tasks_run_again_elsewhere(self, cluster, doomed, tmp_path) -> None:
        lost = doomed.node_id

        @ll.task(max_retries=2)
        def slow(index: int) -> str:
            place = ll.get_runtime_context().get_node_id()
            (tmp_path / f"{index}-{place}").touch()
            while place == lost:
                time.sleep(0.01)
            return place

        refs = [slow.options(scheduling_strategy=at(doomed, soft=True)).remote(index) for index in range(2)]
        eventually(lambda: len(list(tmp_path.iterdir())) == 2)
        cluster.remove_node(doomed)
        assert doomed.node_id not in ll.get(refs, timeout=PATIENCE)

    def test_a_task_that_may_not_run_again_fails_with_the_reason(self, cluster, doomed, tmp_path) -> None:
        @ll.task(max_retries=0)
        def stuck() -> None:
            (tmp_path / "started").touch()
            while True:
                time.sleep(0.01)

        ref = stuck.options(scheduling_strategy=at(doomed)).remote()
        eventually((tmp_path / "started").exists)
        cluster.remove_node(doomed)
        with pytest.raises(NodeDiedError, match="lost with its node") as died:
            ll.get(ref, timeout=PATIENCE)
        assert died.value.cause.node_id == doomed.node_id

    def test_an_actor_restarts_elsewhere(self, cluster, doomed) -> None:
        actor = Counter.options(max_restarts=1, max_task_retries=-1, scheduling_strategy=at(doomed, soft=True)).remote()
        assert ll.get(actor.where.remote()) == doomed.node_id
        cluster.remove_node(doomed)
        assert ll.get(actor.where.remote(), timeout=PATIENCE) != doomed.node_id
        assert ll.get(actor.restarted.remote())

    def test_an_actor_that_may_not_restart_is_dead_and_says_why(self, cluster, doomed) -> None:
        actor = Counter.options(scheduling_strategy=at(doomed)).remote()
        ll.get(actor.add.remote())
        cluster.remove_node(doomed)
        eventually(lambda: not alive(doomed))
        with pytest.raises(ActorDiedError) as died:
            ll.get(actor.add.remote(), timeout=PATIENCE)
        assert died.value.cause.kind is DeathKind.NODE_LOST
        assert died.value.cause.node_id == doomed.node_id

    def test_lost_results_are_made_again_with_all_they_came_from(self, cluster, doomed) -> None:
        @ll.task
        def double(array):
            return array.astype(np.uint16) * 2

        first = noise.options(scheduling_strategy=at(doomed, soft=True)).remote(7)
        second = double.options(scheduling_strategy=at(doomed, soft=True)).remote(first)
        third = double.options(scheduling_strategy=at(doomed, soft=True)).remote(second)
        ll.wait([third])
        cluster.remove_node(doomed)
        assert np.array_equal(ll.get(third, timeout=PATIENCE), expected(7).astype(np.uint16) * 4)

    def test_a_chain_of_results_keeps_its_end_only_and_is_made_again_from_its_beginning(self, cluster, doomed) -> None:
        @ll.task
        def add(array, number):
            return array + number

        objects = ll.actors.runtime.current().hub.table._entries
        before = set(objects)  # of other tests; those may go meanwhile
        state = noise.options(scheduling_strategy=at(doomed, soft=True)).remote(11)
        for number in range(5):
            state = add.options(scheduling_strategy=at(doomed, soft=True)).remote(state, np.uint8(number))
        ll.wait([state], fetch_local=False)
        eventually(lambda: set(objects) - before == {state.binary()})
        cluster.remove_node(doomed)
        assert np.array_equal(ll.get(state, timeout=PATIENCE), expected(11) + np.uint8(10))
        eventually(lambda: set(objects) - before == {state.binary()})

    def test_what_was_made_again_as_often_as_it_may_be_is_lost(self, cluster, doomed) -> None:
        ref = noise.options(resources={"doomed": 1}, max_retries=1).remote(12)
        ll.wait([ref], fetch_local=False)
        second = cluster.add_node(num_cpus=2, resources={"doomed": 8})
        cluster.remove_node(doomed)
        eventually(lambda: not alive(doomed))
        ll.get(digest.options(scheduling_strategy=at(second)).remote(ref), timeout=PATIENCE)
        cluster.remove_node(second)
        with pytest.raises(ObjectReconstructionFailedMaxAttemptsExceededError, match="max_retries of 1"):
            ll.get(ref, timeout=PATIENCE)

    def test_a_task_reads_an_argument_that_was_lost(self, cluster, doomed) -> None:
        ref = noise.options(scheduling_strategy=at(doomed, soft=True)).remote(8)
        ll.wait([ref])
        cluster.remove_node(doomed)
        read = digest.options(scheduling_strategy=at(cluster.east)).remote(ref)
        assert ll.get(read, timeout=PATIENCE)[1] == cluster.east.node_id

    def test_a_copy_on_another_node_is_as_good(self, cluster, doomed) -> None:
        ref = noise.options(scheduling_strategy=at(doomed), max_retries=0).remote(9)
        ll.get(digest.options(scheduling_strategy=at(cluster.east)).remote(ref))  # which leaves a copy there
        cluster.remove_node(doomed)
        assert np.array_equal(ll.get(ref, timeout=PATIENCE), expected(9))

    def test_what_may_not_be_made_again_is_lost(self, cluster, doomed) -> None:
        ref = noise.options(scheduling_strategy=at(doomed), max_retries=0).remote(10)
        ll.wait([ref])
        cluster.remove_node(doomed)
        with pytest.raises(ObjectLostError, match="max_retries"):
            ll.get(ref, timeout=PATIENCE)

    def test_objects_die_with_their_owner(self, cluster, doomed) -> None:
        actor = Counter.options(scheduling_strategy=at(doomed)).remote()
        (ref,) = ll.get(actor.put.remote(SIZE))
        cluster.remove_node(doomed)
        with pytest.raises(OwnerDiedError):
            ll.get(ref, timeout=PATIENCE)

    def test_its_workers_end(self, cluster, doomed) -> None:
        actor = Counter.options(scheduling_strategy=at(doomed)).remote()
        pid = ll.get(actor.pid.remote())
        cluster.remove_node(doomed)
        eventually(lambda: not runs(pid))


def test_nodes_come_and_go_under_work(cluster) -> None:
    @ll.task(max_retries=-1)
    def add(left, right):
        time.sleep(0.02)
        return left + right

    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    rows = [noise.options(max_retries=-1).remote(seed, 200_000) for seed in range(12)]
    sums = [add.remote(left, right) for left, right in pairwise(rows)]
    cluster.remove_node(nodes[0])
    more = [add.remote(left, right) for left, right in pairwise(sums)]
    ll.wait(more, num_returns=3)
    cluster.remove_node(nodes[1])
    wanted = [expected(seed, 200_000) for seed in range(12)]
    for index, found in enumerate(ll.get(more, timeout=PATIENCE)):
        first, middle, last = wanted[index : index + 3]
        assert np.array_equal(found, first + middle + middle + last)
    cluster.wait_for_nodes()


class Reader:
    """Reads what lies in its working directory."""

    def read(self) -> str:
        return read()

    def read_elsewhere(self, where) -> str:
        return ll.get(ll.remote(read).options(scheduling_strategy=where).remote())


def read() -> str:
    return Path("data.txt").read_text()


def test_packages_that_were_stored_on_it_come_from_whoever_has_them(cluster, doomed, tmp_path) -> None:
    (tmp_path / "data.txt").write_text("content")

    @ll.task
    def start(env, where) -> str:
        options = {"name": "reader", "lifetime": "detached", "num_cpus": 0, "scheduling_strategy": where}
        reader = ll.remote(Reader).options(runtime_env=env, **options).remote()
        return ll.get(reader.read.remote())

    env = {"working_dir": str(tmp_path)}
    assert ll.get(start.options(scheduling_strategy=at(doomed)).remote(env, at(cluster.east))) == "content"
    reader = ll.get_actor("reader")
    cluster.remove_node(doomed)
    eventually(lambda: not alive(doomed))
    assert ll.get(reader.read_elsewhere.remote(at(cluster.head_node)), timeout=PATIENCE) == "content"
    ll.kill(reader)
