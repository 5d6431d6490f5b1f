"""How a burst is shared: each node that is asked for leases has its part kept for it, for a moment."""

from hypothesis import given
from hypothesis import strategies as st

from limelight.actors.native.burst import PATIENCE_S, Burst, OnTheWay

HOME, OTHER, THIRD = "home", "other", "third"


def began():
    burst = Burst()
    burst.begin()
    return burst


def take(burst, node, queued):
    """A lease of this node takes what it may; returns what it leaves."""
    while queued and burst.may_have(node, queued):
        burst.give(node)
        queued -= 1
    return queued


def test_the_first_lease_leaves_what_others_on_their_way_are_to_have():
    burst = began()
    burst.look(OnTheWay({OTHER: 4}, HOME, 3, 2), {HOME: 1}, 8, 0.0)
    assert take(burst, HOME, 8) == 4
    burst.look(OnTheWay({OTHER: 3}, HOME, 0, 2), {HOME: 4, OTHER: 1}, 4, 0.001)
    assert take(burst, HOME, 4) == 4
    assert take(burst, OTHER, 4) == 0


def test_a_node_with_more_room_has_more():
    burst = began()
    burst.look(OnTheWay({OTHER: 7}, HOME, 0, 2), {HOME: 1}, 8, 0.0)
    assert take(burst, HOME, 8) == 7


def test_a_burst_larger_than_the_cluster_is_shared_evenly():
    burst = began()
    burst.look(OnTheWay({OTHER: 4, THIRD: 4}, HOME, 291, 3), {HOME: 1}, 300, 0.0)
    assert take(burst, HOME, 300) == 200
    assert take(burst, OTHER, 200) == 100
    assert take(burst, THIRD, 100) == 0


def test_a_node_that_no_room_is_known_at_yet_is_not_left_out():
    burst = began()
    burst.look(OnTheWay({}, HOME, 4, 2), {HOME: 4}, 8, 0.0)
    assert take(burst, HOME, 8) == 4


def test_nothing_is_kept_once_all_leases_are_there():
    burst = began()
    burst.look(OnTheWay({OTHER: 1}, HOME, 0, 2), {HOME: 1}, 2, 0.0)
    assert take(burst, HOME, 2) == 1
    burst.look(OnTheWay({}, HOME, 0, 2), {HOME: 1, OTHER: 1}, 1, 0.001)
    assert take(burst, HOME, 1) == 0


NODES = st.sampled_from([HOME, OTHER, THIRD])
COUNTS = st.dictionaries(NODES, st.integers(1, 9))


@given(st.lists(st.tuples(COUNTS, COUNTS, st.integers(0, 300), st.integers(1, 300), st.lists(NODES)), min_size=1))
def test_somebody_may_always_have_a_task_or_leases_are_on_their_way_and_never_for_long(looks):
    burst = began()
    for number, (placed, some, at_home, count, takers) in enumerate(looks):
        owing = {node: count for node, count in placed.items() if node != HOME}
        held, queued = some or {HOME: 1}, count
        burst.look(OnTheWay(owing, HOME, at_home, 3), held, queued, number * 0.001)
        may = any(burst.may_have(node, queued) for node in held)
        assert may or owing or at_home, "it would wait for nobody"
        for node in takers:
            queued = take(burst, node, queued)
    burst.look(OnTheWay({OTHER: 4}, HOME, 9, 9), {HOME: 1}, 8, PATIENCE_S)
    assert burst.over
    assert take(burst, HOME, 8) == 0
