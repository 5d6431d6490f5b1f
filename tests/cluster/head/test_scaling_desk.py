"""What an autoscaler sees of a cluster by its head's tables, and what it does when its file is changed."""

import asyncio
from types import SimpleNamespace

import pytest

from limelight.actors import contract as c
from limelight.cluster.autoscaler import message as m
from limelight.cluster.head import scaling_desk
from limelight.cluster.head.scaling_desk import HeadPort, ScalingDesk
from limelight.cluster.scheduling.resources import ResourceSet
from tests.waiting import until

from .crash_world import World

GPU = {"GPU": 10_000}


@pytest.fixture
def world():
    made = World(1, nodes=2, users=1)
    made.run(1.0)
    return made


def register(world, lease, *, light=False, detached=True):
    """Make an actor, of which nobody is waited for; and let time pass."""
    [user] = world.users.values()
    actor_id = bytes(15) + bytes([len(world.creations) + 1])
    invocation = b"make " + actor_id
    world.creations[invocation] = actor_id
    needs = c.LeaseSpec(lease, {}, {}, "", b"job")
    creation = c.encode(c.Creation(b"template", invocation))
    spec = c.ActorSpec(
        actor_id, "A", "", "", detached, 0, user.process.address, needs, needs, light, b"", True, creation
    )  # fmt: skip
    with world.running():
        user.ask(c.RegisterActor(spec, False))
    world.run(3.0)
    return next((node.node_id.hex() for node in world.nodes if any(w.instances for w in node.workers.values())), "")


def holds(port):
    return {node_id: node.holds for node_id, node in port.nodes().items()}


def test_a_node_that_nobody_uses_could_go(world):
    port = HeadPort(world.head)
    assert set(holds(port).values()) == {""}
    before = port.nodes()
    assert all(before[node_id] is node for node_id, node in port.nodes().items()), "nothing has changed"


@pytest.mark.parametrize(("lease", "light"), [({"CPU": 10_000}, False), ({}, True)])
def test_a_node_with_a_detached_actor_is_in_use_also_where_that_takes_no_resources(world, lease, light):
    port = HeadPort(world.head)
    where = register(world, lease, light=light)
    assert where
    assert holds(port)[where] == "work"
    with world.running():
        port.drain(where, "idle")
    assert not port.nodes()[where].draining


def test_a_node_where_a_program_runs_is_in_use(world):
    port = HeadPort(world.head)
    node_id = world.nodes[0].node_id.hex()
    world.head.jobs.has_drivers_at = lambda asked: asked == node_id
    assert holds(port)[node_id] == "a driver"


def test_a_node_is_drained_once_and_is_not_empty_before_it_has_left(world):
    port = HeadPort(world.head)
    one, other = port.nodes()
    with world.running():
        port.drain(one, "it has had no work")
        port.drain("ab" * 28, "it is gone")
    seen = port.nodes()
    assert (seen[one].draining, seen[one].holds) == (True, "it is leaving"), "its objects are copied first"
    assert (seen[other].draining, seen[other].holds) == (False, "")
    assert world.head.drains.reason_of(one) == "it has had no work"
    world.run(1.0)
    assert "DrainOrder" in world.nodes[0].orders + world.nodes[1].orders


def test_what_waits_counts_once_it_has_waited_for_two_looks(world):
    port = HeadPort(world.head)
    register(world, GPU)
    assert port.load().wants == ()
    assert port.load().wants == (m.Want(ResourceSet.of_units(GPU), 1),)
    register(world, GPU)
    assert port.load().wants == (m.Want(ResourceSet.of_units(GPU), 1),)
    assert port.load().wants == (m.Want(ResourceSet.of_units(GPU), 2),)


FILE = """\
cluster_name: mine
provider: {{type: local, base: {base}}}
head_node_type: cpu
node_types:
  cpu: {{resources: {{CPU: 1}}, max_workers: {most}}}
"""


@pytest.fixture
def empty(monkeypatch):
    """A head without nodes or work, on the running loop."""
    monkeypatch.setattr(scaling_desk, "LOOK_S", 0.02)
    nothing = SimpleNamespace(pending=dict, unserved=dict)
    return SimpleNamespace(
        scaling=list, view=SimpleNamespace(nodes={}), scheduler=nothing, actors=SimpleNamespace(directory=nothing),
        groups=SimpleNamespace(pending=list), requested=SimpleNamespace(floor=()),
    )  # fmt: skip


async def test_a_changed_file_is_gone_by_and_a_faulty_one_is_told(empty, tmp_path):
    empty.loop = asyncio.get_running_loop()
    path = tmp_path / "c.yaml"
    path.write_text(FILE.format(base=tmp_path, most=3))
    desk = ScalingDesk(empty, str(path), "ab" * 32, "h:1")
    try:
        assert empty.scaling() == ["cpu: none (min 0, max 3)"]
        path.write_text(FILE.format(base=tmp_path, most=20))
        await until(lambda: empty.scaling() == ["cpu: none (min 0, max 20)"])
        path.write_text(FILE.format(base=tmp_path, most="many"))
        await until(lambda: len(empty.scaling()) == 2)
        assert f"{path}:5:43" in empty.scaling()[0]
        assert empty.scaling()[1] == "cpu: none (min 0, max 20)"
        path.write_text(FILE.format(base=tmp_path / "other", most=20))
        await until(lambda: "counts for a new head only" in empty.scaling()[0])
        path.write_text(FILE.format(base=tmp_path, most=4))
        await until(lambda: empty.scaling() == ["cpu: none (min 0, max 4)"])
    finally:
        await desk.close()


async def test_a_head_that_takes_over_without_a_file_leads_all_the_same(empty, tmp_path):
    empty.loop = asyncio.get_running_loop()
    path = tmp_path / "c.yaml"
    desk = ScalingDesk(empty, str(path), "ab" * 32, "h:1")
    try:
        [told] = empty.scaling()
        assert "cannot be read: No such file" in told
        path.write_text(FILE.format(base=tmp_path, most=3))
        await until(lambda: empty.scaling() == ["cpu: none (min 0, max 3)"])
    finally:
        await desk.close()
