"""Which machines the plan adds for what waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.cluster.autoscaler.message import NodeSeen, PendingGroup, Want
from limelight.cluster.autoscaler.packing import Offer, Plan
from limelight.cluster.autoscaler.room import RoomIndex, Rooms, room_of
from limelight.cluster.provider.instance import NodeType
from limelight.cluster.scheduling.labels import parse_selector
from limelight.cluster.scheduling.ledger import Ledger
from limelight.cluster.scheduling.resources import ResourceSet

CPU4 = {"CPU": 4, "memory": 8e9}
CPU16 = {"CPU": 16, "memory": 32e9}
GPU2 = {"CPU": 8, "GPU": 2, "memory": 64e9}


def needs(**amounts):
    return ResourceSet.parse(amounts)


def node_type(name, amounts, **options):
    return NodeType(name=name, resources=ResourceSet.parse(amounts), max_workers=100, **options)


def plan_for(types, rooms=(), spare=1000, closed=()):
    made = [node_type(name, amounts) if isinstance(amounts, dict) else amounts for name, amounts in types.items()]
    offers = [Offer(one, one.max_workers, i, is_open=one.name not in closed) for i, one in enumerate(made)]
    return Plan(Rooms(rooms), offers, spare)


def launched(wants, types, **options):
    plan = plan_for(types, **options)
    plan.add_wants([Want(needs(**amounts), count) for count, amounts in wants], "tasks wait for")
    return plan


def test_nothing_is_launched_for_what_fits_into_what_there_is():
    rooms = [room_of(node_type("small", CPU4), "live", 3)]
    plan = launched([(12, {"CPU": 1})], {"small": CPU4}, rooms=rooms)
    assert plan.launches == {}
    assert plan.unmet == []


def test_only_what_is_left_over_is_launched_for():
    rooms = [room_of(node_type("small", CPU4), "starting", 3)]
    assert launched([(13, {"CPU": 1})], {"small": CPU4}, rooms=rooms).launches == {"small": 1}


@pytest.mark.parametrize(
    ("wants", "expected"),
    [
        ([(1, {"CPU": 1})], {"small": 1}),
        ([(4, {"CPU": 1})], {"small": 1}),
        ([(16, {"CPU": 1})], {"big": 1}),
        ([(100, {"CPU": 1})], {"big": 6, "small": 1}),
        ([(1, {"CPU": 5})], {"big": 1}),
        ([(2, {"CPU": 4}), (8, {"CPU": 1})], {"big": 1}),
        ([(1, {"GPU": 1})], {"gpu": 1}),
        ([(3, {"GPU": 1, "CPU": 1})], {"gpu": 2}),
        ([(5, {"GPU": 0.5})], {"gpu": 2}),
        ([(3, {"GPU": 0.6})], {"gpu": 2}),
        ([(1, {"GPU": 2}), (8, {"CPU": 1})], {"gpu": 1}),
    ],
)
def test_the_types_that_are_used_best_are_launched(wants, expected):
    assert launched(wants, {"small": CPU4, "big": CPU16, "gpu": GPU2}).launches == expected


def test_machines_with_gpus_are_not_launched_for_cpu_work():
    assert launched([(9, {"CPU": 1})], {"gpu": GPU2, "small": CPU4}).launches == {"small": 3}
    failing = launched([(1, {"CPU": 1})], {"gpu": GPU2, "small": CPU4}, closed=["small"])
    assert failing.launches == {}
    assert len(failing.unmet) == 1


def test_machines_with_gpus_are_launched_for_cpu_work_that_no_other_machine_could_do():
    assert launched([(1, {"CPU": 8})], {"gpu": GPU2, "small": CPU4}).launches == {"gpu": 1}


def test_cpu_work_may_use_what_is_left_of_a_machine_with_gpus():
    plan = launched([(1, {"GPU": 1, "CPU": 1}), (7, {"CPU": 1})], {"small": CPU4, "gpu": GPU2})
    assert plan.launches == {"gpu": 1}


def test_another_type_is_taken_while_launches_of_the_best_fail():
    types = {"small": CPU4, "big": CPU16}
    assert launched([(1, {"CPU": 1})], types, closed=["small"]).launches == {"big": 1}


def test_what_nothing_can_hold_is_named_and_does_not_stop_the_rest():
    plan = launched([(1, {"CPU": 64}), (1, {"CPU": 1})], {"small": CPU4})
    assert plan.launches == {"small": 1}
    assert plan.unmet == ["1 x tasks wait for {CPU: 64}: no node type of the cluster has that"]


def test_bounds_hold_and_are_named():
    plan = launched([(100, {"CPU": 4})], {"small": NodeType(name="small", resources=needs(CPU=4), max_workers=3)})
    assert plan.launches == {"small": 3}
    assert plan.unmet == ["97 x tasks wait for {CPU: 4}: there are as many of small as there may be (max_workers)"]
    plan = launched([(100, {"CPU": 4})], {"small": CPU4}, spare=2)
    assert plan.launches == {"small": 2}
    assert "as many machines as it may (max_workers)" in plan.unmet[0]


def test_label_selectors_choose_the_type():
    types = {"plain": node_type("plain", CPU4), "fast": node_type("fast", CPU4, labels={"disk": "nvme"})}
    plan = plan_for(types)
    plan.add_wants([Want(needs(CPU=1), 2, parse_selector({"disk": "nvme"}))], "tasks wait for")
    assert plan.launches == {"fast": 1}
    assert plan.reasons["fast"] == ["tasks wait for {CPU: 1} where disk in (nvme)"]


def test_things_that_need_nothing_share_one_machine():
    assert launched([(10_000, {})], {"small": CPU4}).launches == {"small": 1}


def group(strategy, *bundles, taken=()):
    return PendingGroup("g", tuple(needs(**bundle) for bundle in bundles), strategy, taken)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (group("STRICT_SPREAD", *[{"CPU": 1}] * 3), {"small": 3}),
        (group("STRICT_PACK", *[{"CPU": 3}] * 3), {"big": 1}),
        (group("STRICT_PACK", *[{"CPU": 3}] * 6), {}),
        (group("PACK", *[{"CPU": 2}] * 4), {"small": 2}),
        (group("SPREAD", *[{"CPU": 2}] * 4), {"small": 2}),
        (group("STRICT_PACK", {"GPU": 1}, {"GPU": 1}), {"gpu": 1}),
        (group("STRICT_PACK", {"GPU": 0.6}, {"GPU": 0.6}, {"GPU": 0.6}), {}),
    ],
)
def test_a_placement_group_gets_machines_for_all_of_it_or_none(made, expected):
    plan = plan_for({"small": CPU4, "big": CPU16, "gpu": GPU2})
    plan.add_group(made)
    assert {**plan.launches} == expected
    assert bool(plan.unmet) == (not expected)


@pytest.mark.parametrize("strategy", ["PACK", "STRICT_PACK", "STRICT_SPREAD"])
def test_the_bundles_of_a_group_choose_their_nodes_by_labels(strategy):
    types = {"plain": node_type("plain", CPU4), "fast": node_type("fast", CPU4, labels={"disk": "nvme"})}
    rooms = [room_of(types["plain"], "live", 3)]
    fast = parse_selector({"disk": "nvme"})
    plan = plan_for(types, rooms)
    plan.add_group(PendingGroup("g", (needs(CPU=1), needs(CPU=1)), strategy, (), (fast, fast)))
    assert plan.launches == {"fast": 2 if strategy == "STRICT_SPREAD" else 1}


def test_a_group_within_one_rack_gets_machines_of_one():
    types = {rack: node_type(rack, CPU4, labels={"rack": rack}) for rack in ("east", "west")}
    bundles = (needs(CPU=4),) * 3
    plan = plan_for({"plain": CPU4, **types}, [room_of(types["west"], "live", 2), room_of(types["east"], "live", 1)])
    plan.add_group(PendingGroup("g", bundles, "SPREAD", topology="rack"))
    assert plan.launches == {"west": 1}
    plan = plan_for({"plain": CPU4, "east": types["east"]}, [room_of(types["west"], "live", 2)])
    plan.add_group(PendingGroup("g", bundles, "SPREAD", topology="rack"))
    assert plan.launches == {"east": 3}, "there is no more of west"
    plan = plan_for({"plain": CPU4})
    plan.add_group(PendingGroup("g", bundles, "SPREAD", topology="rack"))
    assert plan.launches == {}
    assert len(plan.unmet) == 1
    assert "where rack exists" in plan.unmet[0]


def test_what_is_lost_of_a_group_within_one_rack_is_launched_there():
    types = {rack: node_type(rack, CPU4, labels={"rack": rack}) for rack in ("east", "west")}
    plan = plan_for(types, [room_of(types["east"], "live", 1)])
    taken = room_of(types["west"], "live", 1)
    plan.add_group(PendingGroup("g", (needs(CPU=4),), "SPREAD", ("n",), topology="rack"), [taken])
    assert plan.launches == {"west": 1}


def test_a_group_that_cannot_be_held_leaves_the_plan_as_it_was():
    plan = plan_for({"small": CPU4}, spare=2)
    plan.add_group(group("STRICT_SPREAD", *[{"CPU": 4}] * 3))
    assert plan.launches == {}
    assert len(plan.unmet) == 1
    plan.add_wants([Want(needs(CPU=4), 2)], "tasks wait for")
    assert plan.launches == {"small": 2}, "what the group did not get is there for others"


def test_strict_spread_uses_what_there_is_but_not_the_nodes_that_hold_its_other_bundles():
    rooms = [room_of(node_type("small", CPU4), "live", 3)]
    plan = plan_for({"small": CPU4}, rooms)
    taken = plan.rooms.take(plan.rooms.rooms[0], 1)
    plan.add_group(group("STRICT_SPREAD", *[{"CPU": 1}] * 3, taken=("n1",)), [taken])
    assert plan.launches == {"small": 1}


def test_two_halves_of_different_devices_are_no_device():
    index = RoomIndex()
    half = {"GPU": {0: 5000, 1: 5000}}
    index.learn(NodeSeen("n", "", needs(CPU=4, GPU=2), {"CPU": 40_000, "GPU": 10_000}, half, {}))
    index.focus([(needs(GPU=1), ())])
    plan = plan_for({"gpu": GPU2}, index.free())
    plan.add_wants([Want(needs(GPU=1), 1)], "tasks wait for")
    assert plan.launches == {"gpu": 1}


def test_equal_nodes_are_one_room_however_many_there_are():
    index = RoomIndex()
    index.focus([(needs(CPU=1), parse_selector({"zone": "a"}))])
    for i in range(2000):
        labels = {"zone": "ab"[i % 2], "limelight/instance": f"i{i}"}
        index.learn(NodeSeen(f"n{i}", f"i{i}", needs(CPU=4, memory=i + 1), {"CPU": 10_000 * (i % 3)}, {}, labels))
    assert len(index.free()) == 6
    assert sum(room.count for room in index.free()) == 2000
    for i in range(2000):
        index.forget(f"n{i}")
    assert index.free() == []


shapes = st.fixed_dictionaries(
    {}, optional={"CPU": st.integers(1, 6), "GPU": st.sampled_from([0.25, 0.5, 0.6, 1, 2]), "x": st.integers(1, 3)}
)


@given(st.lists(st.tuples(st.integers(1, 9), shapes), max_size=6), st.integers(0, 12), st.integers(0, 4))
def test_what_is_planned_really_holds_what_waits(wants, spare, live):
    """Every one of the things that count as placed can be put on a machine of the plan, device by device."""
    types = {"small": CPU4, "gpu": GPU2, "odd": {"CPU": 2, "x": 3}}
    plan = plan_for(types, [room_of(node_type("small", CPU4), "live", live)] if live else [], spare)
    plan.add_wants([Want(needs(**shape), count) for count, shape in wants], "x")
    assert sum(plan.launches.values()) <= spare
    unmet = sum(int(text.split()[0]) for text in plan.unmet)
    for room in plan.rooms.rooms:
        assert room.count >= 1
        assert all(units >= 0 for units in room.available.values())
        for kind, free in room.devices.items():
            assert sum(free.values()) == room.available[kind]
    made = [amounts for name, amounts in types.items() for _ in range(plan.launches.get(name, 0))] + [CPU4] * live
    have, used = {}, {}
    for amounts in made:
        for kind, units in ResourceSet.parse(amounts).amounts:
            have[kind] = have.get(kind, 0) + units
    for room in plan.rooms.rooms:
        for kind, units in room.available.items():
            used[kind] = used.get(kind, 0) + units * room.count
    asked = {}
    for count, shape in wants:
        for kind, units in needs(**shape).amounts:
            asked[kind] = asked.get(kind, 0) + units * count
    if not unmet:
        for kind, units in asked.items():
            assert have.get(kind, 0) - used.get(kind, 0) == units
    assert unmet <= sum(count for count, _ in wants)


@given(st.lists(st.tuples(shapes, st.integers(1, 5)), max_size=8))
def test_a_room_takes_what_a_node_would(puts):
    room = room_of(node_type("gpu", GPU2), "live")
    ledger = Ledger(ResourceSet.parse(GPU2))
    for shape, times in puts:
        request = needs(**shape)
        fitted = 0
        while fitted < times and ledger.allocate(request) is not None:
            fitted += 1
        assert room.capacity(request, times) == fitted
        assert room.put(request, times) == fitted
