"""A head that has just begun to lead and hears none of its nodes: is it cut off itself, or are they all dead?"""

import pytest

from limelight.actors.contract import HEAD
from limelight.cluster import cluster_message as cm
from limelight.cluster.head.head_state import NODES, SESSION
from limelight.cluster.head.hearing import DEAF_S
from limelight.transport.address import ProcessAddress
from limelight.transport.error import PeerLostError

from .crash_network import Channel
from .crash_world import Process, World

USUAL_S = 9.0
"""The patience of a head that follows another."""


@pytest.fixture
def world():
    """Two nodes on hosts of their own that know a head on a third."""
    made = World(1)
    made.run(1.0)
    for node, place in zip(made.nodes, "ab", strict=True):
        name = node.process.address.process_id
        node.process.address = ProcessAddress(name, place, "", f"10.0.0.{place}:7000")
        row = made.head.nodes[node.node_id.hex()]
        made.head.state.put(
            NODES, node.node_id.hex(), cm.RegisterNode(node.node_id, node.process.address, place, row.resources, {})
        )
    made.run(1.0)
    return made


class Cut:
    """The next head begins to lead where no node reaches it: what they say is lost, and what it says is, too."""

    def __init__(self, world: World, before: str = "10.0.0.9:6379") -> None:
        self._world, self._before = world, before
        self.reached: set[bytes] = set()
        self.begin()

    def begin(self) -> None:
        """Another head begins."""
        world = self._world
        with world.running():
            world.crash_head()
            world.start_head(self._before)
        methods = world.head.methods
        for method in ("RegisterNode", "FromNode", "FromProcess"):
            methods[method] = self._through(methods[method])
        process, notify = world.head_process, world.head_process.notify
        process.notify = lambda address, actor, body: self._may(address) and notify(address, actor, body)

    def _may(self, address) -> bool:
        cut_off = {node.process.address.process_id for node in self._world.nodes if node.node_id not in self.reached}
        return address.process_id not in cut_off

    def _through(self, method):
        return lambda channel, call: self._may(channel.far.address) and method(channel, call)

    def heal(self, *nodes) -> None:
        """Those are reached again; what waits for a head asks once more."""
        for node in nodes:
            self.reached.add(node.node_id)
            node.away = True


def stand_by(world, name="standby") -> None:
    with world.running():
        Process(world, name).notify(world.head_process.address, HEAD, cm.StandBy("10.0.0.2:6379"))
    world.run(0.1)


def test_a_cut_of_a_head_that_has_just_begun_to_lead_costs_no_node(world):
    cut = Cut(world)
    world.run(USUAL_S + 10.0)
    assert not any(node.ended for node in world.nodes)
    cut.heal(*world.nodes)
    world.run(30.0)
    assert not any(node.ended for node in world.nodes)
    assert len(world.head.nodes) == 2


def test_when_the_first_node_comes_the_others_have_the_usual_time(world):
    first, second = world.nodes
    cut = Cut(world)
    world.run(30.0)
    cut.heal(first)
    world.run(USUAL_S - 2.0)
    assert second.node_id.hex() in world.head.nodes
    world.run(3.0)
    assert second.node_id.hex() not in world.head.nodes
    assert first.node_id.hex() in world.head.nodes


def test_nodes_that_are_really_dead_are_given_up_in_the_end(world):
    Cut(world)
    world.run(DEAF_S)
    assert len(world.head.nodes) == 2
    world.run(USUAL_S + 1.0)
    assert not world.head.nodes
    assert not world.head.has_stepped_down
    assert world.store.rows[NODES] == {}


def test_in_a_cluster_of_two_machines_that_of_the_head_before_is_given_up_as_usual(world):
    """Its silence has a cause: its head has failed, too."""
    first, second = world.nodes
    with world.running():
        world.head.node_desk.end(first.node_id.hex(), "it was drained")
    world.run(1.0)
    Cut(world, before=f"{second.process.address.tcp.rpartition(':')[0]}:6379")
    world.run(USUAL_S + 1.0)
    assert not world.head.nodes


def test_where_another_stands_by_it_is_left_the_cluster(world):
    Cut(world)
    stand_by(world)
    world.run(USUAL_S - 1.0)
    assert not world.head.has_stepped_down
    world.run(2.0)
    assert world.head.has_stepped_down
    assert len(world.store.rows[NODES]) == 2, "the next head knows them"


def test_heads_whose_nodes_are_all_dead_do_not_hand_the_cluster_on_for_ever(world):
    cut = Cut(world)
    for life in range(3):
        for other in range(2):
            stand_by(world, f"standby {life} {other}")
        world.run(USUAL_S + 1.0)
        assert world.head.has_stepped_down == (life < 2), "each other has tried"
        if life < 2:
            cut.begin()
    world.run(DEAF_S + 1.0)
    assert not world.head.nodes
    assert not world.head.has_stepped_down


def test_that_heads_heard_nobody_is_forgotten_when_one_does(world):
    cut = Cut(world)
    stand_by(world)
    world.run(USUAL_S + 1.0)
    assert "deaf" in world.store.rows[SESSION]
    cut.begin()
    cut.heal(*world.nodes)
    world.run(2.0)
    assert "deaf" not in world.store.rows[SESSION]


def test_a_connection_that_is_cut_while_it_begins_to_lead_is_no_nodes_death(world):
    first, second = world.nodes
    Cut(world)
    with world.running():
        world.head.on_lost(Channel(world.head_process, first.process), PeerLostError("no answer"))
        world.head.on_lost(Channel(world.head_process, second.process), PeerLostError("ended", gone=True))
    assert list(world.head.nodes) == [first.node_id.hex()], "what is known is not waited for"
