"""A head whose state cannot be written: it holds no more after an hour than after a minute, and then goes on."""

from types import SimpleNamespace

import pytest

from limelight.actors import contract as c
from limelight.actors.contract import HEAD, NODE, encode
from limelight.cluster import cluster_message as cm
from limelight.cluster.head.head_state import SESSION
from limelight.cluster.scheduling import lease_message as m
from tests.cluster.scheduling.node_driver import spec

from .crash_world import Node, Process, World


@pytest.fixture
def world():
    made = World(1, nodes=3)
    made.run(2.0)
    return made


class Outage:
    """From now on nothing can be written, and the head knows that."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._step, world.writer.step = world.writer.step, lambda: False
        with world.running():
            world.head.state.put(SESSION, "name", "s")  # which is how it knows
            world.head.troubled("the disk is full")

    def end(self) -> None:
        """It can be written again; told in this order by `StateWriter`."""
        self._world.writer.step = self._step
        with self._world.running():
            self._world.head.troubled("")

    def held(self) -> int:
        """What waits to be said."""
        return len(self._world.writer._queue._for_waiting)


def demand(world, wanted: int, version: int = 1) -> None:
    """A program wants workers that need a node each."""
    want = m.DemandChanged("user0", b"class", spec(CPU=1000), wanted, version)
    with world.running():
        world.nodes[0].feed(want)


def make_group(world, number: int, units: int) -> bytes:
    user, group_id = world.users["user0"], bytes([number]) * 18
    with world.running():
        user.ask(c.CreateGroup(group_id, [{"CPU": units}], "PACK", "", "", False, b"job", user.name))
    return group_id


def make_actor(world, number: int, units: int) -> bytes:
    user, actor_id = world.users["user0"], bytes([number]) * 16
    lease, creation = c.LeaseSpec({"CPU": units}, {}, {}, "", b"job"), b"make %d" % number
    world.creations[creation] = actor_id
    made = c.ActorSpec(
        actor_id, "A", "", "", True, 0, user.process.address, lease, lease, False, b"", True,
        encode(c.Creation(b"", creation)),
    )  # fmt: skip
    with world.running():
        user.ask(c.RegisterActor(made, get_if_exists=False))
    return actor_id


def test_a_head_that_can_say_nothing_holds_no_more_the_longer_that_lasts(world):
    outage = Outage(world)
    demand(world, 5)
    for number in range(4):
        make_group(world, number, 10_000 if number % 2 else 10**9)
        make_actor(world, number, 10_000 if number % 2 else 10**9)
    world.run(60.0)
    held = outage.held()
    assert held
    world.run(600.0)
    demand(world, 6, version=2)
    world.run(60.0)
    assert outage.held() == held


def test_nodes_hear_at_once_why_nothing_is_answered_and_when_that_is_over(world):
    outage = Outage(world)
    world.run(1.0)
    assert [node.troubles for node in world.nodes] == [["the disk is full"]] * 3
    outage.end()
    world.run(1.0)
    assert [node.troubles for node in world.nodes] == [["the disk is full", ""]] * 3


def test_a_node_that_connects_meanwhile_hears_why_it_is_not_answered(world):
    Outage(world)
    with world.running():
        world.nodes.append(newcomer := Node(world, 3))
    world.run(1.0)
    assert newcomer.troubles == ["the disk is full"]
    assert not newcomer.registered


def test_what_came_meanwhile_is_placed_when_it_can_be_said(world):
    outage = Outage(world)
    demand(world, 3)
    group_id, actor_id = make_group(world, 1, 10_000), make_actor(world, 1, 0)
    world.run(60.0)
    assert not any(isinstance(event, m.Place) for event in world.nodes[0].told)
    outage.end()
    world.run(5.0)
    placed = {event.node_id for event in world.nodes[0].told if isinstance(event, m.Place)}
    assert placed == {node.node_id.hex() for node in world.nodes[1:]}
    assert world.head.actors.directory.table.actors[actor_id].state == "ALIVE"
    assert world.head.groups._groups.table.groups[group_id].state == "CREATED"


def test_a_node_that_is_lost_meanwhile_does_not_come_back_with_its_last_report(world):
    outage = Outage(world)
    world.run(2.0)
    lost = world.nodes[1]
    with world.running():
        world.end(lost.process)
    world.run(2.0)
    outage.end()
    world.run(2.0)
    assert lost.node_id.hex() not in world.head.view.nodes


def test_a_node_that_came_meanwhile_is_told_that_it_can_be_used_afterwards(world):
    outage = Outage(world)
    node = world.nodes[0]
    with world.running():
        registration = cm.RegisterNode(b"\x07" * 28, node.process.address, "host", node.resources.units(), {})
        newcomer = Process(world, "newcomer", node=registration.node_id.hex())
        answers: list[object] = []
        newcomer.ask(world.head_process.address, HEAD, registration, answers.append)
        report = m.NodeReport(registration.node_id.hex(), 1, node.resources, node.resources.units(), {}, {})
        newcomer.notify(world.head_process.address, HEAD, cm.FromNode(registration.node_id, report))
    world.run(2.0)
    assert answers == []
    outage.end()
    world.run(2.0)
    assert [answer.failed for answer in answers] == [False]
    assert world.head.view.nodes[registration.node_id.hex()].available["CPU"]


def test_a_node_that_is_none_of_the_clusters_is_told_so_once(world):
    outage = Outage(world)
    make_group(world, 1, 10_000)
    world.run(1.0)
    held = outage.held()
    node_id = b"\x08" * 28
    heard: list[str] = []
    with world.running():
        stranger = Process(world, "stranger", node=node_id.hex())
        stranger.actors = {NODE: SimpleNamespace(on_receive=lambda message: heard.append(message.call.method))}
    report = m.NodeReport(node_id.hex(), 1, world.nodes[0].resources, {}, {}, {})
    for _ in range(100):
        with world.running():
            stranger.notify(world.head_process.address, HEAD, cm.FromNode(node_id, report))
        world.run(0.01)
    assert (outage.held() - held, heard) == (1, [])
    outage.end()
    world.run(1.0)
    with world.running():
        stranger.notify(world.head_process.address, HEAD, cm.FromNode(node_id, report))
    world.run(1.0)
    assert heard == ["NodeExpired", "NodeExpired"]


def test_a_node_is_not_called_idle_by_what_it_said_before(world):
    outage = Outage(world)
    node_id = world.nodes[1].node_id.hex()
    assert not world.head.drains.is_idle(node_id)
    outage.end()
    world.run(2.0)
    assert world.head.drains.is_idle(node_id)


def test_what_was_due_meanwhile_is_done_at_once_afterwards(world):
    outage, rung = Outage(world), []
    with world.running():
        world.head.alarm(world.clock.time, lambda: rung.append(1)).set()
    world.run(1.0)
    assert rung == []
    outage.end()
    world.run(0.0)
    assert rung == [1]
