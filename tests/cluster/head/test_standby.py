"""Heads that stand by: who knows of them, and what a head leaves to them."""

from pathlib import Path

import pytest

from limelight.actors import contract as c
from limelight.actors.contract import HEAD, encode
from limelight.actors.serialization import deserialize_error
from limelight.cluster import cluster_message as cm
from limelight.cluster.head.head_state import NODES
from limelight.cluster.head.standby import Standby
from limelight.cluster.system_process import Arrived
from limelight.transport.address import ProcessAddress
from limelight.transport.error import PeerClosedError
from limelight.transport.protocol import Call, Reply

from .crash_network import Channel
from .crash_world import Node, Process, World

HERE, OTHER, THIRD = "10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"


@pytest.fixture
def world():
    """A head on a host of its own; nodes are on another."""
    made = World(1)
    made.run(1.0)
    made.head_process.address = ProcessAddress(made.head_process.address.process_id, "another host", "", HERE)
    return made


def stand_by(world, where: str = OTHER) -> Process:
    """A head that stands by has introduced itself."""
    with world.running():
        standby = Process(world, f"standby at {where}")
        standby.notify(world.head_process.address, HEAD, cm.StandBy(where))
    world.run(0.1)
    return standby


def lose(world, standby: Process) -> None:
    with world.running():
        world.head.on_lost(Channel(world.head_process, standby), PeerClosedError("closed the channel"))
    world.run(0.1)


def known(world) -> list[list[str]]:
    """Where nodes look for heads; nothing where each knows only the one that it has joined."""
    return [node.known_heads for node in world.nodes]


def test_nodes_learn_where_heads_stand_by_as_soon_as_those_are_there(world):
    stand_by(world)
    assert known(world) == [[HERE, OTHER]] * 2
    stand_by(world, THIRD)
    assert known(world) == [[HERE, OTHER, THIRD]] * 2


def test_nodes_look_no_more_where_one_stood_by_that_is_gone(world):
    gone = stand_by(world)
    stand_by(world, THIRD)
    lose(world, gone)
    assert known(world) == [[HERE, THIRD]] * 2


def test_a_node_that_joins_later_learns_where_heads_stand_by(world):
    stand_by(world)
    with world.running():
        world.nodes.append(Node(world, 2))
    world.run(1.0)
    assert known(world) == [[HERE, OTHER]] * 3


def test_those_who_stand_by_end_with_the_cluster(world):
    with world.running():
        ended: list[bool] = []
        standby = Process(world, "standby")
        standby.actors = {HEAD: Standby(standby, Path("unused"), lambda: "elsewhere", lambda: ended.append(True))}
        standby.notify(world.head_process.address, HEAD, cm.StandBy("10.0.0.2:6379"))
    world.run(0.1)
    answers = world.ask(cm.EndCluster())
    world.run(0.1)
    assert ended == [True]
    assert answers == [Reply(1, False, b"")]


def test_one_who_stands_by_sends_who_asks_it_on_to_the_head(world):
    answers: list[Reply] = []
    with world.running():
        process = Process(world, "standby")
        process.actors = {HEAD: Standby(process, Path("unused"), lambda: HERE, lambda: None)}
        Process(world, "command").ask(process.address, HEAD, c.QueryState("nodes"), answers.append)
    world.run(0.1)
    [answer] = answers
    assert answer.failed
    assert f"the one that leads is at {HERE}" in str(deserialize_error(answer.body))


def test_one_who_stands_by_does_not_end_the_cluster_of_another(world):
    ended: list[bool] = []
    with world.running():
        process = Process(world, "y")
        standby = Standby(process, Path("unused"), lambda: "elsewhere", lambda: ended.append(True))
        standby.on_receive(
            Arrived(Process(world, "x").channel("user0"), Call(7, HEAD, "EndCluster", encode(cm.EndCluster())))
        )
    assert not ended


def test_a_head_that_hears_no_node_leaves_them_to_the_one_that_stands_by(world):
    stand_by(world)
    world.head.methods["FromNode"] = lambda *_: None
    world.run(10.0)
    assert world.head.has_stepped_down
    assert not any(node.ended for node in world.nodes)
    assert len(world.store.rows[NODES]) == 2, "the next head knows them"


def test_a_head_that_hears_no_node_and_nobody_stands_by_gives_them_up(world):
    world.head.methods["FromNode"] = lambda *_: None
    world.run(10.0)
    assert not world.head.has_stepped_down
    assert all(node.ended for node in world.nodes)


def test_a_head_that_hears_some_nodes_gives_up_the_others_although_another_stands_by(world):
    stand_by(world)
    heard, silent = world.nodes
    hears = world.head.methods["FromNode"]
    world.head.methods["FromNode"] = lambda channel, call: channel.far is silent.process or hears(channel, call)
    world.run(10.0)
    assert not world.head.has_stepped_down
    assert silent.ended
    assert not heard.ended
