"""Placement groups, end to end on one node."""

import time

import pytest

from limelight.exceptions import ActorPlacementGroupRemoved, TaskPlacementGroupRemoved
from limelight.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from limelight.util.scheduling_strategies import PlacementGroupSchedulingStrategy


@pytest.fixture
def group(ll):
    """A reserved group of one CPU and of two."""
    made = placement_group([{"CPU": 1}, {"CPU": 2}])
    assert made.wait(10)
    yield made
    remove_placement_group(made)


@pytest.fixture
def native(request):
    """For what local mode, which has no resources, cannot show."""
    if request.node.callspec.params["ll"] == "local":
        pytest.skip("local mode reserves nothing")


def until(condition, seconds=10):
    """Wait for a condition on the cluster's state."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def inside(group, index=-1, capture=None):
    return PlacementGroupSchedulingStrategy(group, index, capture)


def where():
    """The group the caller runs in."""
    return get_current_placement_group()


def where_a_child_runs(**options):
    import limelight

    return limelight.get(limelight.remote(where).options(num_cpus=0, **options).remote())


def test_a_ready_group_is_the_value_of_its_ref(ll, group):
    assert ll.get(group.ready(), timeout=10) == group
    assert group.bundle_count == 2
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 2.0}]


def test_the_handle_travels(ll, group):
    @ll.remote
    def read(handle):
        return handle.wait(5), handle.bundle_specs, handle

    ready, specs, back = ll.get(read.remote(group))
    assert (ready, specs, back) == (True, group.bundle_specs, group)
    assert hash(back) == hash(group)


@pytest.mark.parametrize(
    ("bundles", "options"),
    [
        ([], {}),
        ([{}], {}),
        ([{"CPU": 0}], {}),
        ({"CPU": 1}, {}),
        ([1], {}),
        ([{"CPU": -1}], {}),
        ([{"CPU": float("nan")}], {}),
        ([{"CPU": 1}], {"strategy": "TIGHT"}),
        ([{"CPU": 1}], {"lifetime": "forever"}),
    ],
)
def test_nonsense_is_refused(ll, bundles, options):
    with pytest.raises(ValueError, match=r"\w"):
        placement_group(bundles, **options)


def test_a_group_is_found_by_name(ll):
    made = placement_group([{"CPU": 1}], name="by name")
    try:
        found = get_placement_group("by name")
        assert found == made
        assert found.bundle_specs == made.bundle_specs
        with pytest.raises(ValueError, match="by name"):
            placement_group([{"CPU": 1}], name="by name")
    finally:
        remove_placement_group(made)
    with pytest.raises(ValueError, match="by name"):
        get_placement_group("by name")


def test_the_empty_group_stands_for_none(ll):
    assert PlacementGroup.empty().is_empty
    assert PlacementGroup.empty().bundle_specs == []
    assert get_current_placement_group() is None


def test_the_table_says_what_lies_where(ll, native, group):
    row = placement_group_table(group)
    assert row["state"] == "CREATED"
    assert row["strategy"] == "PACK"
    assert row["bundles"] == {0: {"CPU": 1.0}, 1: {"CPU": 2.0}}
    assert set(row["bundles_to_node_id"].values()) == {ll.get_runtime_context().get_node_id()}
    assert placement_group_table()[group.id.hex()] == row


def test_reserved_resources_are_nobody_elses(ll, native, group):
    until(lambda: ll.available_resources().get("CPU") == 1.0)


def test_tasks_and_actors_run_in_a_bundle(ll, native, group):
    @ll.remote
    class Resident:
        def where(self):
            return where()

    assert ll.get(ll.remote(where).options(scheduling_strategy=inside(group)).remote()) == group
    two = ll.remote(where).options(num_cpus=2, scheduling_strategy=inside(group, 1))
    assert ll.get(two.remote()) == group
    assert ll.get(ll.remote(where).options(placement_group=group).remote()) == group
    resident = Resident.options(num_cpus=1, scheduling_strategy=inside(group, 0)).remote()
    assert ll.get(resident.where.remote()) == group
    assert ll.get(ll.remote(where).remote()) is None


def test_what_asks_for_nothing_runs_in_a_group_too(ll, native, group):
    nothing = ll.remote(where).options(num_cpus=0, scheduling_strategy=inside(group))
    assert ll.get([nothing.remote() for _ in range(3)]) == [group] * 3


def test_more_tasks_than_a_bundle_holds_take_turns(ll, native, group):
    square = ll.remote(lambda x: x * x).options(scheduling_strategy=inside(group, 0))
    assert ll.get([square.remote(i) for i in range(20)], timeout=30) == [i * i for i in range(20)]


def test_what_no_bundle_can_hold_is_refused(ll, native, group):
    with pytest.raises(ValueError, match="CPU"):
        ll.remote(where).options(num_cpus=3, scheduling_strategy=inside(group)).remote()
    with pytest.raises(ValueError, match="CPU"):
        ll.remote(where).options(num_cpus=2, scheduling_strategy=inside(group, 0)).remote()
    with pytest.raises(ValueError, match="bundle_index"):
        ll.remote(where).options(scheduling_strategy=inside(group, 2)).remote()


def test_children_follow_only_where_they_are_captured(ll, native, group):
    parent = ll.remote(where_a_child_runs).options(num_cpus=1)
    assert ll.get(parent.options(scheduling_strategy=inside(group)).remote()) is None
    captured = parent.options(scheduling_strategy=inside(group, capture=True))
    assert ll.get(captured.remote()) == group
    assert ll.get(captured.remote(scheduling_strategy="DEFAULT")) is None
    assert ll.get(parent.remote()) is None


def test_a_captured_child_that_cannot_fit_is_refused(ll, native, group):
    @ll.remote
    def parent():
        return ll.remote(where).options(num_cpus=4).remote()

    with pytest.raises(ValueError, match="CPU"):
        ll.get(parent.options(scheduling_strategy=inside(group, capture=True)).remote(), timeout=20)


def test_a_group_that_cannot_be_waits_and_says_why(ll, native):
    made = placement_group([{"CPU": 1000}])
    task = ll.remote(where).options(scheduling_strategy=inside(made)).remote()
    ready = made.ready()
    assert made.wait(0.1) is False
    row = placement_group_table(made)
    assert row["state"] == "PENDING"
    assert "1000" in row["stats"]["problem"]
    remove_placement_group(made)
    for ref in (ready, made.ready(), task):
        with pytest.raises(TaskPlacementGroupRemoved):
            ll.get(ref, timeout=10)
    with pytest.raises(TaskPlacementGroupRemoved):
        made.wait(10)


def test_a_group_waits_for_room(ll, native):
    first = placement_group([{"CPU": 4}])
    assert first.wait(10)
    second = placement_group([{"CPU": 4}])
    assert second.wait(0.1) is False
    remove_placement_group(first)
    assert second.wait(10)
    remove_placement_group(second)


def test_removal_ends_what_runs_in_the_group(ll, native, tmp_path):
    made = placement_group([{"CPU": 3}])

    @ll.remote(num_cpus=1)
    def forever(name):
        (tmp_path / name).touch()
        time.sleep(600)

    @ll.remote(num_cpus=1)
    class Resident:
        def ping(self):
            return "pong"

    retried = forever.options(scheduling_strategy=inside(made)).remote("retried")
    once = forever.options(scheduling_strategy=inside(made), max_retries=0).remote("once")
    resident = Resident.options(scheduling_strategy=inside(made), max_restarts=3).remote()
    assert ll.get(resident.ping.remote(), timeout=10) == "pong"
    until(lambda: (tmp_path / "retried").exists() and (tmp_path / "once").exists())
    remove_placement_group(made)
    for ref in (retried, once, forever.options(scheduling_strategy=inside(made)).remote("late")):
        with pytest.raises(TaskPlacementGroupRemoved):
            ll.get(ref, timeout=10)

    def ends():
        try:
            ll.get(resident.ping.remote(), timeout=10)
        except ActorPlacementGroupRemoved:
            return True
        except ll.exceptions.RayActorError:  # it is being restarted
            return False

    until(ends)
    late = Resident.options(scheduling_strategy=inside(made)).remote()
    with pytest.raises(ActorPlacementGroupRemoved):
        ll.get(late.ping.remote(), timeout=10)
    until(lambda: ll.available_resources().get("CPU") == 4.0)
    remove_placement_group(made)  # again: no effect


def test_a_group_ends_with_the_actor_that_made_it(ll, native):
    @ll.remote
    class Maker:
        def make(self, lifetime):
            return placement_group([{"CPU": 1}], lifetime=lifetime)

    maker = Maker.remote()
    own, detached = ll.get([maker.make.remote(None), maker.make.remote("detached")])
    assert own.wait(10)
    ll.kill(maker)
    until(lambda: placement_group_table(own)["state"] == "REMOVED")
    assert placement_group_table(detached)["state"] == "CREATED"
    remove_placement_group(detached)


def test_a_group_that_a_task_made_outlives_it(ll, native):
    @ll.remote(max_calls=1)
    def make():
        return placement_group([{"CPU": 1}])

    made = ll.get(make.remote())
    assert made.wait(10)
    remove_placement_group(made)


def test_light_actors_take_no_bundle(ll, native, group):
    @ll.remote(isolation="shared")
    class Light:
        pass

    with pytest.raises(ValueError, match="isolation"):
        Light.options(scheduling_strategy=inside(group)).remote()
