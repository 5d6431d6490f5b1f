"""Which bundle of a placement group goes where: what is planned fits, and keeps what the strategy and labels ask."""

from collections import Counter
from random import Random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.cluster.scheduling.bundle_plan import plan
from limelight.cluster.scheduling.cluster_view import ClusterView
from limelight.cluster.scheduling.group_table import GroupStrategy
from limelight.cluster.scheduling.labels import matches, parse_selector
from limelight.cluster.scheduling.lease_message import NodeReport
from limelight.cluster.scheduling.resources import ResourceSet

ZONES = {"a": 4, "b": 4, "c": 4}


def cpus(*amounts):
    return tuple(ResourceSet.parse({"CPU": amount}) for amount in amounts)


def view_of(**nodes):
    view = ClusterView(Random(0))
    for node_id, amount in nodes.items():
        total = ResourceSet.parse({"CPU": amount})
        view.update(NodeReport(node_id, 1, total, total.units(), {}, {}))
    return view


def plan_of(strategy, *amounts, taken=(), empty=False, **nodes):
    return plan(view_of(**nodes), dict(enumerate(cpus(*amounts))), strategy, taken, empty=empty)


@pytest.mark.parametrize(
    ("strategy", "amounts", "nodes", "used"),
    [
        ("PACK", (1, 1, 1), {"a": 4, "b": 4}, 1),
        ("PACK", (3, 3), {"a": 4, "b": 4}, 2),
        ("SPREAD", (1, 1, 1), {"a": 4, "b": 4, "c": 4}, 3),
        ("SPREAD", (1, 1, 1), {"a": 4, "b": 4}, 2),
        ("STRICT_PACK", (2, 2), {"a": 2, "b": 4}, 1),
        ("STRICT_PACK", (3, 2), {"a": 4, "b": 4}, None),
        ("STRICT_SPREAD", (1, 1), {"a": 4, "b": 4}, 2),
        ("STRICT_SPREAD", (1, 1, 1), {"a": 4, "b": 4}, None),
        ("PACK", (8,), {"a": 4, "b": 4}, None),
        ("PACK", (1, 3, 2, 2), {"a": 4, "b": 4}, 2),
    ],
)
def test_bundles_go_where_the_strategy_says(strategy, amounts, nodes, used):
    chosen = plan_of(strategy, *amounts, **nodes)
    assert (None if chosen is None else len(set(chosen.values()))) == used
    if chosen is not None:
        for node_id, size in nodes.items():
            assert sum(amounts[i] for i, holder in chosen.items() if holder == node_id) <= size


def test_strict_plans_mind_the_bundles_that_stand():
    assert plan_of("STRICT_SPREAD", 1, taken=["a"], a=4, b=4) == {0: "b"}
    assert plan_of("STRICT_PACK", 1, taken=["b"], a=4, b=4) == {0: "b"}
    assert plan_of("PACK", 1, taken=["b"], a=4, b=4) == {0: "b"}


def zone_plan(strategy, *zones, amount=1, target="", nodes=None):
    """A plan for bundles of one size that ask for zones ("": any); each node is alone in the zone of its name."""
    view = ClusterView(Random(0))
    for name, size in (nodes or ZONES).items():
        total = ResourceSet.parse({"CPU": size})
        view.update(NodeReport(name, 1, total, total.units(), {}, {"zone": name}))
    bundles = dict(enumerate(cpus(*[amount] * len(zones))))
    selectors = {index: parse_selector({"zone": zone} if zone else {}) for index, zone in enumerate(zones)}
    return plan(view, bundles, strategy, selectors=selectors, target=target)


@pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_SPREAD"])
def test_each_bundle_lies_where_its_selector_says(strategy):
    assert zone_plan(strategy, "b", "a") == {0: "b", 1: "a"}
    assert zone_plan(strategy, "z") is None
    assert zone_plan(strategy, "b", "b", amount=3) is None


def test_bundles_of_one_node_agree_on_it_or_wait():
    assert zone_plan("STRICT_PACK", "b", "!a") == {0: "b", 1: "b"}
    assert zone_plan("STRICT_PACK", "b", "a") is None


def test_those_who_may_choose_leave_room_to_those_who_may_not():
    assert zone_plan("STRICT_SPREAD", "", "", "a") in ({0: "b", 1: "c", 2: "a"}, {0: "c", 1: "b", 2: "a"})


def test_a_target_is_preferred_while_it_has_room_for_all():
    for target in "abc":
        assert zone_plan("STRICT_PACK", "", "", target=target) == {0: target, 1: target}
    assert zone_plan("STRICT_PACK", "", "", amount=2, target="a", nodes={"a": 3, "b": 4}) == {0: "b", 1: "b"}
    assert zone_plan("STRICT_PACK", "", target="gone") is not None


def rack_plan(strategy, amounts, *racks, taken=()):
    """A plan within one rack; a rack is a dict of nodes, the last one of those without the label."""
    view = ClusterView(Random(0))
    for rack, nodes in enumerate(racks):
        for node_id, size in nodes.items():
            total = ResourceSet.parse({"CPU": size})
            labels = {"rack": str(rack)} if rack < len(racks) - 1 else {}
            view.update(NodeReport(node_id, 1, total, total.units(), {}, labels))
    return plan(view, dict(enumerate(cpus(*amounts))), strategy, taken, topology="rack")


def test_all_nodes_of_a_group_have_one_value_of_its_topology():
    racks = {"a": 2, "b": 2}, {"c": 2, "d": 2, "e": 2}, {"large": 100}
    assert set(rack_plan("STRICT_SPREAD", (1, 1), *racks).values()) < {"a", "b", "c", "d", "e"}
    assert set(rack_plan("STRICT_SPREAD", (1, 1, 1), *racks).values()) == {"c", "d", "e"}
    assert set(rack_plan("PACK", (2, 2, 2), *racks).values()) == {"c", "d", "e"}
    assert rack_plan("PACK", (2, 2, 2, 2), *racks) is None
    assert rack_plan("STRICT_PACK", (2, 1), *racks) is None
    assert rack_plan("PACK", (3,), *racks) is None


def test_what_is_lost_of_a_group_is_placed_where_the_rest_is():
    racks = {"a": 2, "b": 2}, {"c": 2, "d": 2, "e": 2}, {}
    assert rack_plan("PACK", (2,), *racks, taken=["a"]) in ({0: "a"}, {0: "b"})
    assert rack_plan("STRICT_SPREAD", (1,), *racks, taken=["a"]) == {0: "b"}
    assert rack_plan("STRICT_SPREAD", (1, 1), *racks, taken=["a"]) is None


def test_a_rack_with_room_is_found_among_many():
    crowd = [{f"n{rack}-{i}": 1 for i in range(3)} for rack in range(100)]
    last = {"x": 1, "y": 1, "z": 1, "w": 1}
    assert set(rack_plan("STRICT_SPREAD", (1, 1, 1, 1), *crowd, last, {}).values()) == {*last}


def test_a_plan_is_found_where_few_of_many_nodes_will_do():
    crowd = {f"n{i}": 1 for i in range(300)}
    assert plan_of("PACK", 1, 2, **crowd, large=2)[1] == "large"
    assert plan_of("STRICT_PACK", 1, 1, **crowd, large=2) == {0: "large", 1: "large"}
    assert plan_of("STRICT_PACK", 2, 2, **crowd, large=2) is None
    assert len(set(plan_of("STRICT_SPREAD", *[1] * 300, **crowd).values())) == 300
    assert plan_of("STRICT_SPREAD", *[1] * 301, **crowd) is None
    assert len(plan_of("PACK", *[1] * 300, **crowd)) == 300
    assert plan_of("PACK", *[1] * 301, **crowd) is None


@given(
    st.sampled_from(get_args(GroupStrategy)),
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["", "x", "y", "!x"])), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from("xyz")), min_size=1, max_size=12),
    st.sampled_from(["", "zone"]),
)
def test_what_is_planned_fits_and_keeps_every_condition(strategy, wishes, nodes, topology):
    view = ClusterView(Random(0))
    for index, (size, zone) in enumerate(nodes):
        total = ResourceSet.parse({"CPU": size})
        view.update(NodeReport(str(index), 1, total, total.units(), {}, {"zone": zone}))
    bundles = dict(enumerate(cpus(*[amount for amount, _ in wishes])))
    selectors = {index: parse_selector({"zone": zone} if zone else {}) for index, (_, zone) in enumerate(wishes)}
    chosen = plan(view, bundles, strategy, selectors=selectors, topology=topology)
    if chosen is None:
        (size, _), selector = wishes[0], selectors[0]
        could = any(has >= size and matches(selector, {"zone": zone}) for has, zone in nodes)
        assert len(wishes) > 1 or not could, "one bundle alone is placed if any node can hold it"
        return
    assert set(chosen) == set(bundles)
    used = Counter()
    for index, node_id in chosen.items():
        used[node_id] += wishes[index][0]
        assert matches(selectors[index], {"zone": nodes[int(node_id)][1]})
    assert all(amount <= nodes[int(node_id)][0] for node_id, amount in used.items())
    assert strategy != "STRICT_PACK" or len(used) == 1
    assert strategy != "STRICT_SPREAD" or len(used) == len(bundles)
    assert not topology or len({nodes[int(node_id)][1] for node_id in used}) == 1
