"""Labels of nodes decide where tasks, actors and bundles run, with what they fall back to."""

import pytest

import limelight as ll
from limelight.util.placement_group import placement_group, placement_group_table, remove_placement_group

from .cluster_program import PATIENCE, Counter, eventually, idle, where

WEST, EAST = {"side": "west"}, {"side": "east"}


def ids(cluster) -> dict[str, str]:
    return {"west": cluster.head_node.node_id, "east": cluster.east.node_id}


@pytest.mark.parametrize(
    ("selector", "side"),
    [
        ({"side": "east"}, "east"),
        ({"side": "!west"}, "east"),
        ({"side": "in(east, north)"}, "east"),
        ({"side": "!in(east,north)"}, "west"),
        ({"side": "west", "absent": "!x"}, "west"),
    ],
)
def test_every_kind_of_selector_finds_its_node(cluster, selector, side) -> None:
    assert ll.get(where.options(label_selector=selector).remote(), timeout=PATIENCE) == ids(cluster)[side]
    actor = Counter.options(label_selector=selector).remote()
    assert ll.get(actor.where.remote(), timeout=PATIENCE) == ids(cluster)[side]


def test_every_node_has_its_id_for_a_label(cluster) -> None:
    nodes = {node["NodeID"]: node["Labels"] for node in ll.nodes() if node["Alive"]}
    assert {labels["ray.io/node-id"] for labels in nodes.values()} == set(nodes)
    assert nodes[cluster.east.node_id] == {**EAST, "ray.io/node-id": cluster.east.node_id}
    assert ll.get_runtime_context().get_node_labels() == nodes[cluster.head_node.node_id]
    for node in nodes:
        selected = where.options(label_selector={"ray.io/node-id": node})
        assert ll.get(selected.remote(), timeout=PATIENCE) == node


def test_a_fallback_serves_where_nothing_better_does(cluster) -> None:
    options = {"label_selector": {"side": "north"}, "fallback_strategy": [{"label_selector": EAST}]}
    assert ll.get(where.options(**options).remote(), timeout=PATIENCE) == cluster.east.node_id
    options = {"label_selector": EAST, "fallback_strategy": [{"label_selector": WEST}]}
    idle()
    assert ll.get(where.options(**options).remote(), timeout=PATIENCE) == cluster.east.node_id
    idle()
    hog = Counter.options(num_cpus=2, label_selector=EAST).remote()
    assert ll.get(hog.where.remote(), timeout=PATIENCE) == cluster.east.node_id
    assert ll.get(where.options(**options).remote(), timeout=PATIENCE) == cluster.head_node.node_id
    ll.kill(hog)


def test_bundles_lie_where_their_selectors_say(cluster) -> None:
    group = placement_group([{"CPU": 1}] * 3, bundle_label_selector=[EAST, WEST, {"side": "!west"}])
    assert group.wait(PATIENCE)
    sides = ids(cluster)
    assert list(placement_group_table(group)["bundles_to_node_id"].values()) == [
        sides[side] for side in ("east", "west", "east")
    ]
    remove_placement_group(group)


def test_a_group_whose_labels_no_node_has_waits_and_says_so(cluster) -> None:
    group = placement_group([{"CPU": 1}], bundle_label_selector=[{"side": "north"}])
    assert not group.wait(0.2)
    eventually(lambda: "labels" in placement_group_table(group)["stats"]["problem"])
    extra = cluster.add_node(num_cpus=1, labels={"side": "north"})
    assert group.wait(PATIENCE)
    assert list(placement_group_table(group)["bundles_to_node_id"].values()) == [extra.node_id]
    remove_placement_group(group)
    cluster.remove_node(extra)


def test_a_group_within_one_side_stays_there(cluster) -> None:
    extra = cluster.add_node(num_cpus=2, labels=EAST)
    spread = {"side": "STRICT_PACK", "ray.io/node-id": "STRICT_SPREAD"}
    group = placement_group([{"CPU": 1}] * 2, topology_strategy=spread)
    assert group.wait(PATIENCE)
    assert placement_group_table(group)["strategy"] == "STRICT_SPREAD"
    nodes = {cluster.east.node_id, extra.node_id}
    assert set(placement_group_table(group)["bundles_to_node_id"].values()) == nodes
    third = placement_group([{"CPU": 1}] * 3, topology_strategy=spread)
    assert not third.wait(0.2)
    eventually(lambda: "one value of the label side" in placement_group_table(third)["stats"]["problem"])
    remove_placement_group(third)
    cluster.remove_node(extra)
    eventually(lambda: placement_group_table(group)["state"] == "RESCHEDULING")
    again = cluster.add_node(num_cpus=2, labels=EAST)
    assert group.wait(PATIENCE)
    assert set(placement_group_table(group)["bundles_to_node_id"].values()) == {cluster.east.node_id, again.node_id}
    remove_placement_group(group)
    cluster.remove_node(again)


def test_a_group_lies_on_its_target_while_that_has_room(cluster) -> None:
    for target in ids(cluster).values():
        group = placement_group([{"CPU": 1}] * 2, "STRICT_PACK", _soft_target_node_id=target)
        assert group.wait(PATIENCE)
        assert set(placement_group_table(group)["bundles_to_node_id"].values()) == {target}
        remove_placement_group(group)
    group = placement_group([{"CPU": 1}], "STRICT_PACK", _soft_target_node_id="ab" * 28)
    assert group.wait(PATIENCE)
    remove_placement_group(group)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"bundle_label_selector": {}}, ValueError, "must be a list"),
        ({"bundle_label_selector": []}, ValueError, "0 selectors for 1 bundles"),
        ({"bundle_label_selector": [{"side": "in()"}]}, ValueError, "not a value"),
        ({"bundle_label_selector": ["east"]}, TypeError, "dict of labels"),
        ({"_soft_target_node_id": "ab" * 28}, ValueError, "STRICT_PACK"),
        ({"_soft_target_node_id": "x", "strategy": "STRICT_PACK"}, ValueError, "no node's id"),
        ({"topology_strategy": {"side": "STRICT_PACK"}, "strategy": "PACK"}, ValueError, "not both"),
        ({"topology_strategy": [("side", "STRICT_PACK")]}, ValueError, "must be a dict"),
        ({"topology_strategy": {"side": "STRICT_PACK", "rack": "STRICT_PACK"}}, ValueError, "names rack, side"),
        ({"topology_strategy": {"side": "SPREAD"}}, ValueError, "take only 'STRICT_PACK'"),
        ({"topology_strategy": {"ray.io/node-id": "EVENLY"}}, ValueError, "no strategy"),
        ({"topology_strategy": {"": "STRICT_PACK"}}, ValueError, "no label"),
        ({"topology_strategy": {"side": "STRICT_PACK"}, "_soft_target_node_id": "ab" * 28}, ValueError, "STRICT_PACK"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(cluster, arguments, error, says) -> None:
    with pytest.raises(error, match=says):
        placement_group([{"CPU": 1}], **arguments)
