"""Options as runtimes see them: resolved, with Ray's defaults."""

import pytest

from limelight.actors.identifier import PlacementGroupID
from limelight.actors.options import actor_options, method_options, task_options
from limelight.actors.scheduling_strategy import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)


def task(**given):
    return task_options(given, generator=False)


def actor(**given):
    return actor_options(given, is_async=False)


class Group:
    id = PlacementGroupID(b"g" * 18)


def test_a_task_takes_one_cpu_and_is_retried_three_times():
    options = task()
    assert options.placement.running == {"CPU": 1.0}
    assert (options.num_returns, options.max_retries, options.retry_exceptions) == (1, 3, False)


def test_resources_are_named_as_the_scheduler_names_them():
    demand = task(num_cpus=0, num_gpus=0.5, memory=10, resources={"disk": 2}, accelerator_type="A100").placement.running
    assert demand == {"GPU": 0.5, "memory": 10.0, "disk": 2.0, "accelerator_type:A100": 0.001}


def test_a_worker_that_used_a_gpu_is_not_used_again():
    assert task(num_gpus=1).max_calls == 1
    assert task(num_gpus=1, max_calls=0).max_calls == 0
    assert task().max_calls == 0


def test_an_actor_without_resources_is_placed_by_a_cpu_that_it_does_not_keep():
    placement = actor().placement
    assert (placement.running, placement.placing) == ({}, {"CPU": 1.0})
    placement = actor(memory=5).placement
    assert (placement.running, placement.placing) == ({"memory": 5.0}, {"CPU": 1.0, "memory": 5.0})


def test_an_actor_with_resources_keeps_them():
    assert actor(num_gpus=1).placement.running == {"CPU": 1.0, "GPU": 1.0}
    assert actor(num_cpus=0).placement.placing == {}
    assert actor(num_cpus=2).placement.running == actor(num_cpus=2).placement.placing == {"CPU": 2.0}


def test_a_light_actor_needs_no_cpu():
    assert actor(isolation="shared").placement.placing == {}


def test_defaults_of_actors_and_methods():
    options = actor()
    assert (options.max_restarts, options.max_task_retries, options.max_pending_calls) == (0, 0, -1)
    assert (options.max_concurrency, options.lifetime, options.isolation) == (1, "non_detached", "process")
    assert actor_options({}, is_async=True).max_concurrency == 1000
    assert method_options({}, generator=True, method="m").num_returns == "streaming"


def test_the_key_tells_placements_apart_that_need_other_workers():
    same = [task(), task(num_cpus=1), task(max_retries=0), task(placement_group="default"), task(name="x")]
    assert len({options.placement.key for options in same}) == 1
    different = [
        task(),
        task(scheduling_strategy="DEFAULT"),  # not even in the placement group that captures
        task(num_cpus=2),
        task(resources={"a": 1}),
        task(scheduling_strategy="SPREAD"),
        task(scheduling_strategy=NodeAffinitySchedulingStrategy("ab" * 28, soft=False)),
        task(scheduling_strategy=NodeLabelSchedulingStrategy({"a": In("b")})),
        task(scheduling_strategy=NodeLabelSchedulingStrategy({"a": NotIn("b")})),
        task(scheduling_strategy=PlacementGroupSchedulingStrategy(Group, 0)),
        task(scheduling_strategy=PlacementGroupSchedulingStrategy(Group, 1)),
        task(label_selector={"zone": "a"}),
        task(runtime_env={"env_vars": {"A": "1"}}),
        task(runtime_env={"env_vars": {"A": "2"}, "py_modules": ["pkg://x"]}),
    ]
    assert len({options.placement.key for options in different}) == len(different)


def test_the_older_option_for_placement_groups():
    strategy = task(placement_group=Group, placement_group_bundle_index=2).placement.strategy
    assert strategy == PlacementGroupSchedulingStrategy(Group, 2)
    with pytest.raises(ValueError, match="scheduling_strategy"):
        task(placement_group=Group, scheduling_strategy="SPREAD")


def test_strategies_check_what_they_are_given():
    with pytest.raises(TypeError, match="node_id"):
        NodeAffinitySchedulingStrategy(b"x", soft=False)
    with pytest.raises(ValueError, match="soft"):
        NodeAffinitySchedulingStrategy("ab" * 28, soft=False, _spill_on_unavailable=True)
    with pytest.raises(TypeError, match="hard"):
        NodeLabelSchedulingStrategy({"a": "b"})
    with pytest.raises(TypeError, match="values"):
        In(1)
    assert (Exists(), DoesNotExist()) == (Exists(), DoesNotExist())
    assert Exists() != DoesNotExist()


@pytest.mark.parametrize("selector", [{"a": "b"}, {"ray.io/zone": "in(a,b)"}, {"a": "!b"}, {"a": "!in(b)"}])
def test_label_selectors(selector):
    assert task(label_selector=selector).placement.label_selector == selector


def test_light_actors_end_with_their_job():
    with pytest.raises(ValueError, match="detached"):
        actor(isolation="shared", lifetime="detached")
