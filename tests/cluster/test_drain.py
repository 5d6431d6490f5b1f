"""A node that is drained ends in good order: nothing new comes, what runs ends, and what it has is not lost."""

import time

import numpy as np
import pytest

import limelight as ll
from limelight.actors import runtime
from limelight.actors.contract import HEAD, decoder_of
from limelight.cluster.cluster_message import DrainAnswer, DrainNode
from limelight.exceptions import ActorDiedError, TaskUnschedulableError
from limelight.util.placement_group import placement_group, placement_group_table, remove_placement_group

from .cluster_program import PATIENCE, Counter, alive, at, eventually, expected, noise, runs


def drain(node, deadline_s: float = 30.0, *, if_idle: bool = False) -> DrainAnswer:
    hub = runtime.current().hub
    order = DrainNode(bytes.fromhex(node.node_id), "a test", deadline_s, if_idle)
    return decoder_of(DrainAnswer).decode(hub.ask(hub.head, HEAD, order))


def row(node) -> dict:
    return next(row for row in ll.nodes() if row["NodeID"] == node.node_id)


class TestDrain:
    def test_an_idle_node_ends_and_the_state_says_why(self, cluster, doomed) -> None:
        assert drain(doomed, if_idle=True).accepted
        eventually(lambda: not alive(doomed))
        assert row(doomed)["DeathReasonMessage"] == "it was drained (a test)"
        eventually(lambda: not doomed.is_alive())

    def test_tasks_end_where_they_run_and_others_go_elsewhere(self, cluster, doomed, tmp_path) -> None:
        @ll.task(max_retries=0)
        def slow() -> str:
            (tmp_path / "started").touch()
            while not (tmp_path / "go").exists():
                time.sleep(0.01)
            return ll.get_runtime_context().get_node_id()

        @ll.task
        def quick() -> str:
            return ll.get_runtime_context().get_node_id()

        running = slow.options(scheduling_strategy=at(doomed)).remote()
        eventually((tmp_path / "started").exists)
        assert not drain(doomed, if_idle=True).accepted
        assert drain(doomed).accepted
        eventually(lambda: row(doomed)["Draining"])
        assert row(doomed)["DrainReason"] == "a test"
        places = ll.get([quick.options(scheduling_strategy="SPREAD").remote() for _ in range(12)], timeout=PATIENCE)
        assert doomed.node_id not in places
        assert ll.get(quick.options(scheduling_strategy=at(doomed, soft=True)).remote()) != doomed.node_id
        with pytest.raises(TaskUnschedulableError, match="draining"):
            ll.get(quick.options(scheduling_strategy=at(doomed)).remote(), timeout=PATIENCE)
        assert alive(doomed)
        (tmp_path / "go").touch()
        assert ll.get(running, timeout=PATIENCE) == doomed.node_id
        eventually(lambda: not alive(doomed))

    def test_the_deadline_ends_what_does_not(self, cluster, doomed, tmp_path) -> None:
        @ll.task(max_retries=0)
        def endless() -> None:
            (tmp_path / "started").touch()
            while True:
                time.sleep(0.01)

        ref = endless.options(scheduling_strategy=at(doomed)).remote()
        eventually((tmp_path / "started").exists)
        drain(doomed, deadline_s=0.3)
        with pytest.raises(ll.exceptions.WorkerCrashedError):
            ll.get(ref, timeout=PATIENCE)
        eventually(lambda: not alive(doomed))

    def test_actors_restart_elsewhere_and_it_does_not_count(self, cluster, doomed) -> None:
        actor = Counter.options(max_restarts=1, max_task_retries=-1, scheduling_strategy=at(doomed, soft=True)).remote()
        assert ll.get(actor.where.remote()) == doomed.node_id
        drain(doomed)
        eventually(lambda: ll.get(actor.where.remote(), timeout=PATIENCE) != doomed.node_id)
        eventually(lambda: not alive(doomed))
        pid = ll.get(actor.pid.remote())
        ll.kill(actor, no_restart=False)  # this one counts
        eventually(lambda: ll.get(actor.pid.remote(), timeout=PATIENCE) != pid)

    def test_actors_that_may_not_restart_live_until_the_deadline(self, cluster, doomed) -> None:
        actor = Counter.options(scheduling_strategy=at(doomed)).remote()
        pid = ll.get(actor.pid.remote())
        drain(doomed, deadline_s=1.0)
        assert ll.get(actor.where.remote()) == doomed.node_id
        eventually(lambda: not alive(doomed))
        with pytest.raises(ActorDiedError, match="drained"):
            ll.get(actor.pid.remote(), timeout=PATIENCE)
        eventually(lambda: not runs(pid))

    def test_objects_are_copied_elsewhere(self, cluster, doomed) -> None:
        refs = [noise.options(scheduling_strategy=at(doomed), max_retries=0).remote(seed) for seed in range(6)]
        ll.wait(refs, num_returns=len(refs), fetch_local=False)
        drain(doomed)
        eventually(lambda: not alive(doomed))
        for seed, ref in enumerate(refs):  # which nothing could make again
            assert np.array_equal(ll.get(ref, timeout=PATIENCE), expected(seed))

    def test_what_two_nodes_that_leave_together_have_is_not_copied_from_one_to_the_other(self, cluster, doomed) -> None:
        """As after a burst of work: the autoscaler drains all that are idle at once."""
        nodes = [doomed, *(cluster.add_node(num_cpus=2) for _ in range(2))]
        refs = [noise.options(scheduling_strategy=at(nodes[seed % 3]), max_retries=0).remote(seed) for seed in range(9)]
        ll.wait(refs, num_returns=len(refs), fetch_local=False)
        for node in nodes:
            drain(node)
        eventually(lambda: not any(alive(node) for node in nodes))
        for seed, ref in enumerate(refs):
            assert np.array_equal(ll.get(ref, timeout=PATIENCE), expected(seed))
        for node in nodes[1:]:
            cluster.remove_node(node)

    def test_bundles_are_reserved_again(self, cluster, doomed) -> None:
        group = placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
        assert group.wait(PATIENCE)
        assert doomed.node_id in placement_group_table(group)["bundles_to_node_id"].values()
        extra = cluster.add_node(num_cpus=1)
        drain(doomed)
        eventually(lambda: not alive(doomed))
        assert group.wait(PATIENCE)
        eventually(lambda: extra.node_id in placement_group_table(group)["bundles_to_node_id"].values())
        remove_placement_group(group)
        cluster.remove_node(extra)

    def test_what_cannot_be_drained_is_refused(self, cluster, doomed) -> None:
        assert "no node" in drain(type("Stranger", (), {"node_id": "ab" * 28})).text
        refused = drain(cluster.head_node)
        assert not refused.accepted
        assert "head" in refused.text
