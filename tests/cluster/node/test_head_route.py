"""Where a node looks for its head."""

from limelight.cluster.node.head_route import HeadRoute
from limelight.transport.address import ProcessAddress


def route(tcp: str = "a:1") -> HeadRoute:
    return HeadRoute(ProcessAddress("", "", "", tcp))


def tried(looked: HeadRoute, turns: int) -> list[str]:
    found = []
    for _ in range(turns):
        looked.turn()
        found.append(looked.text)
    return found


def test_the_only_address_is_tried_again_and_again():
    assert tried(route(), 2) == ["a:1", "a:1"]


def test_addresses_of_those_who_stand_by_are_tried_in_turn():
    looked = route()
    looked.learn(["a:1", "b:1", "c:1"])
    assert tried(looked, 4) == ["b:1", "c:1", "a:1", "b:1"]


def test_a_list_of_none_changes_nothing():
    looked = route()
    looked.learn([])
    assert tried(looked, 1) == ["a:1"]


def test_an_announced_address_comes_next_and_once():
    looked = route()
    looked.learn(["a:1", "b:1"])
    looked.announce("x:1")
    assert tried(looked, 3) == ["x:1", "a:1", "b:1"]


def test_a_process_that_is_named_is_the_only_one_that_can_answer():
    assert route().is_open
    assert not HeadRoute(ProcessAddress("p", "h", "/socket")).is_open
    assert HeadRoute(ProcessAddress("p", "h", "/socket")).text == "/socket"
