"""Placement groups and runtime environments on a cluster of several nodes."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import limelight as ll
from limelight.cluster_utils import Cluster
from limelight.util.placement_group import placement_group, placement_group_table, remove_placement_group
from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of two CPUs."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    for _ in range(2):
        made.add_node(num_cpus=2)
    ll.init(made.address)
    yield made
    ll.shutdown()
    made.shutdown()


def node():
    return ll.get_runtime_context().get_node_id()


def nodes_of(group):
    return list(placement_group_table(group)["bundles_to_node_id"].values())


@pytest.mark.parametrize(
    ("strategy", "bundles", "count"),
    [
        ("STRICT_PACK", 2, 1),
        ("PACK", 2, 1),
        ("PACK", 4, 2),
        ("STRICT_SPREAD", 3, 3),
        ("SPREAD", 3, 3),
        ("SPREAD", 6, 3),
    ],
)
def test_bundles_lie_where_the_strategy_wants_them(cluster, strategy, bundles, count):
    group = placement_group([{"CPU": 1}] * bundles, strategy=strategy)
    try:
        assert group.wait(20)
        assert len(set(nodes_of(group))) == count
    finally:
        remove_placement_group(group)


def test_what_cannot_be_spread_strictly_waits(cluster):
    group = placement_group([{"CPU": 1}] * 4, strategy="STRICT_SPREAD")
    try:
        assert group.wait(0.3) is False
        assert "STRICT_SPREAD" in placement_group_table(group)["stats"]["problem"]
    finally:
        remove_placement_group(group)


def test_tasks_and_actors_run_on_their_bundles_node(cluster):
    @ll.remote(num_cpus=1)
    class Resident:
        def node(self):
            return node()

    group = placement_group([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    assert group.wait(20)
    expected = nodes_of(group)
    places = [PlacementGroupSchedulingStrategy(group, index) for index in range(3)]
    assert ll.get([ll.remote(node).options(scheduling_strategy=place).remote() for place in places]) == expected
    residents = [Resident.options(scheduling_strategy=place).remote() for place in places]
    assert ll.get([resident.node.remote() for resident in residents], timeout=30) == expected
    remove_placement_group(group)
    deadline = time.monotonic() + 20
    for resident in residents:
        with pytest.raises(ll.exceptions.ActorPlacementGroupRemoved):  # noqa: PT012 - until it does
            while time.monotonic() < deadline:  # nodes end what runs in the group when they hear of it
                ll.get(resident.node.remote(), timeout=20)


def test_packages_reach_the_nodes_that_need_them(cluster, tmp_path):
    (tmp_path / "large.bin").write_bytes(os.urandom(9 << 20))  # more than one part
    (tmp_path / "shipped_far.py").write_text("def answer():\n    return 42\n")

    def use():
        import shipped_far  # pyright: ignore[reportMissingImports]

        return shipped_far.answer(), Path("large.bin").stat().st_size, node(), str(Path.cwd())

    folders = set()
    for each in ll.nodes():
        place = NodeAffinitySchedulingStrategy(each["NodeID"], soft=False)
        task = ll.remote(use).options(runtime_env={"working_dir": str(tmp_path)}, scheduling_strategy=place)
        answer, size, where, folder = ll.get(task.remote(), timeout=30)
        assert (answer, size, where) == (42, 9 << 20, each["NodeID"])
        folders.add(folder)
    assert len(folders) == 3


def test_the_heads_node_can_be_asked_for(cluster):
    at_head = ll.remote(node).options(
        resources={"node:__internal_head__": 0.01}, num_cpus=0, scheduling_strategy="SPREAD"
    )
    assert set(ll.get([at_head.remote() for _ in range(4)])) == {cluster.head_node.node_id}


def test_the_timeline_is_that_of_all_nodes(cluster):
    def visit():
        return node()

    visit_all = [
        ll.remote(visit)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(each["NodeID"], soft=False))
        .remote()
        for each in ll.nodes()
    ]
    visited = ll.get(visit_all)
    bars = {event["pid"] for event in ll.timeline() if event["name"].endswith("visit")}
    assert bars == {f"node {node_id[:12]}" for node_id in visited}
    assert len(bars) == 3


def test_lost_bundles_are_reserved_again_elsewhere(cluster):
    extra = cluster.add_node(num_cpus=2, resources={"rare": 1})
    group = placement_group([{"CPU": 1, "rare": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert group.wait(20)
    assert nodes_of(group)[0] == extra.node_id
    cluster.remove_node(extra, allow_graceful=False)
    deadline = time.monotonic() + 20
    while placement_group_table(group)["state"] != "RESCHEDULING":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert group.wait(0.1) is False
    other = cluster.add_node(num_cpus=2, resources={"rare": 1})
    assert group.wait(20)
    assert nodes_of(group)[0] == other.node_id
    remove_placement_group(group)


def test_hosts_of_light_actors_end_with_their_job(cluster, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, limelight as ll
        ll.init({cluster.address!r})
        class Light:
            def pid(self): return os.getpid()
        actors = [ll.remote(isolation="shared")(Light).remote() for _ in range(8)]
        print(*set(ll.get([actor.pid.remote() for actor in actors])))
        """)
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=50, check=True)
    pids = [int(pid) for pid in run.stdout.split()]
    assert pids
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a host process of light actors outlives its job"
        time.sleep(0.05)
