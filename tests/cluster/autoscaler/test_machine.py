"""The autoscaler, event by event: when machines come and go."""

from limelight.cluster.autoscaler import message as m
from limelight.cluster.autoscaler.config import ScalingConfig
from limelight.cluster.autoscaler.machine import MAX_GROUPS
from limelight.cluster.scheduling.resources import ResourceSet

from .bench import GPU, ONE_CPU, Bench, instance, node_types, running


def group(strategy, *bundles, taken=()):
    return m.PendingGroup("ring", tuple(ResourceSet.parse(one) for one in bundles), strategy, taken)


def test_nothing_is_decided_before_it_is_known_what_there_is():
    bench = Bench(listed=None, node_types=node_types(cpu=(2, 5)))
    assert bench.decide(wants=[(ONE_CPU, 10)]) == []
    bench.list(instance("old-1"), instance("old-2"))
    [launch] = bench.decide()
    assert len(launch.names) == 1, "two that were found are used before any are launched"


def test_pending_work_launches_machines_once():
    bench = Bench()
    [launch] = bench.decide(wants=[(ONE_CPU, 8)])
    assert launch == m.Launch("cpu-a-1", "cpu", ("cpu-a-1-0", "cpu-a-1-1"), "tasks or actors wait for {CPU: 1}")
    assert bench.decide() == []
    bench.tell(m.LaunchAnswered("cpu-a-1", tuple(instance(name, state="starting") for name in launch.names)))
    bench.tell(m.LaunchAnswered("cpu-a-1", tuple(instance(name, state="starting") for name in launch.names)))
    assert bench.decide() == []
    bench.join("cpu-a-1-0", available={}, holds="4 tasks")
    assert bench.decide(wants=[(ONE_CPU, 4)]) == [], "the second one is still on its way"


def test_a_changed_config_counts_at_once():
    bench = Bench(max_workers=0)
    assert bench.decide(wants=[(ONE_CPU, 1)]) == []
    bench.autoscaler.change(ScalingConfig(node_types=node_types(), max_workers=1))
    assert [type(one) for one in bench.decide()] == [m.Launch]


def test_an_idle_machine_is_drained_and_then_ended():
    bench = Bench()
    running(bench)
    assert bench.decide(after=59) == []
    assert bench.decide(after=2) == [m.DrainNode("node-of-w1", "it has had no work for 61 s (idle_timeout)")]
    assert bench.decide() == [], "nothing ends before it takes no more work"
    bench.join("w1", draining=True)
    [end] = bench.decide()
    assert end.names == {"id-of-w1": "w1"}


def test_a_machine_that_got_work_after_all_stays():
    bench = Bench()
    running(bench)
    assert len(bench.decide(after=61)) == 1
    bench.join("w1", holds="1 task")
    assert bench.decide() == []
    bench.join("w1")
    assert bench.decide(after=59) == []


def test_a_machine_that_drains_with_work_ends_when_the_work_does():
    bench = Bench()
    running(bench)
    bench.decide(after=61)
    bench.join("w1", draining=True, holds="2 objects that only it has")
    assert bench.decide(after=1000) == []
    bench.join("w1", draining=True)
    assert [type(one) for one in bench.decide()] == [m.Terminate]


def test_a_machine_ends_as_soon_as_its_drained_node_has_left():
    bench = Bench()
    running(bench)
    bench.decide(after=61)
    [end] = bench.tell(m.NodeGone("node-of-w1"))
    assert end == m.Terminate({"id-of-w1": "w1"}, "its node node-of- was drained and has left")


def test_what_holds_work_or_objects_or_is_the_head_is_left_alone():
    bench = Bench()
    running(bench, name="w1", holds="1 actor")
    bench.tell(m.NodeSeen("h", "head-1", ONE_CPU, {}, {}, {}, is_head=True))
    bench.list(instance("w1"), instance("head-1", role="head"))
    assert bench.decide(after=10_000) == []


def test_machines_up_to_the_minimum_are_launched_and_kept():
    bench = Bench(node_types=node_types(cpu=(2, 5)))
    [launch] = bench.decide()
    assert len(launch.names) == 2
    assert launch.reason == "min_workers is 2"
    bench.list(*(instance(name) for name in [*launch.names, "extra"]))
    for name in [*launch.names, "extra"]:
        bench.join(name)
    drained = bench.decide(after=100)
    assert len(drained) == 1


def test_what_was_requested_for_later_is_launched_and_kept():
    bench = Bench()
    [launch] = bench.decide(floor=(m.Want(ONE_CPU, 6),))
    assert len(launch.names) == 2
    assert launch.reason == "request_resources asks for {CPU: 1}"
    assert bench.decide() == [], "they are on their way"
    bench.list(*(instance(name) for name in [*launch.names, "third"]))
    for name in launch.names:
        bench.join(name)
    bench.join("third", available={}, holds="4 tasks")
    assert len(bench.decide(after=100)) == 1, "with the busy third one, one of the idle ones is enough"
    bench.join("third")
    bench.decide(floor=())
    bench.decide(after=100)
    assert len(bench.autoscaler.fleet.by_stage["draining"]) == 3, "and with no wish, none is"


def test_the_floor_counts_what_is_busy():
    bench = Bench()
    running(bench, available={}, holds="4 tasks")
    assert bench.decide(floor=(m.Want(ONE_CPU, 4),)) == []


def test_no_more_are_started_at_a_time_than_the_speed_allows():
    bench = Bench(max_workers=100, node_types=node_types(cpu=(0, 100)))
    [launch] = bench.decide(wants=[(ONE_CPU, 400)])
    assert len(launch.names) == 5
    bench.list(*(instance(name) for name in launch.names))
    for name in launch.names:
        bench.join(name, available={}, holds="4 tasks")
    [launch] = bench.decide(wants=[(ONE_CPU, 380)])
    assert len(launch.names) == 5
    bench.list(*(instance(f"cpu-a-{r}-{i}") for r in (1, 2) for i in range(5)))
    for name in launch.names:
        bench.join(name, available={}, holds="4 tasks")
    [launch] = bench.decide(wants=[(ONE_CPU, 360)])
    assert len(launch.names) == 10


def test_a_new_autoscaler_adopts_what_it_finds():
    bench = Bench("b", listed=[instance("cpu-a-1-0"), instance("cpu-a-1-1", state="starting")])
    assert bench.decide(wants=[(ONE_CPU, 8)]) == []
    [launch] = bench.decide(wants=[(ONE_CPU, 9)])
    assert launch.names == ("cpu-b-1-0",), "names are never used twice"


def test_nodes_may_be_known_before_their_instances():
    bench = Bench(listed=None)
    bench.join("w1")
    bench.list(instance("w1"))
    assert bench.autoscaler.fleet.machines["w1"].stage == "joined"


def test_when_less_is_allowed_than_there_is_idle_machines_go_at_once_and_busy_ones_stay():
    """As after `cluster up` with a file that was changed."""
    for types, too_many in ((node_types(cpu=(0, 2)), 1), ({"gpu": node_types()["gpu"]}, 2)):
        bench = Bench(node_types=types)
        running(bench, name="w1", holds="1 task")
        running(bench, name="w2")
        running(bench, name="w3")
        assert len(bench.decide()) == too_many
        assert len(bench.autoscaler.fleet.by_stage["draining"]) == too_many


def test_an_idle_machine_that_waiting_work_could_use_stays():
    bench = Bench()
    running(bench, "gpu")
    assert bench.decide(after=1000, wants=[(GPU, 1)]) == []


def test_placement_groups_get_machines_and_one_that_no_type_can_hold_is_told_in_words():
    bench = Bench()
    three = group("STRICT_SPREAD", *[{"CPU": 1}] * 3)
    [launch] = bench.decide(groups=(three, group("STRICT_PACK", {"CPU": 64})))
    assert len(launch.names) == 3
    assert "placement group ring (STRICT_SPREAD, 3 bundles)" in launch.reason
    [told] = bench.autoscaler.unmet
    assert told.startswith("placement group ring (STRICT_PACK, 1 bundles) waits for one machine with {CPU: 64}: ")
    assert told.endswith(": no node type of the cluster has that")


def test_a_group_that_is_placed_in_part_does_not_count_on_the_nodes_that_it_has():
    bench = Bench()
    running(bench, holds="1 bundle")
    [launch] = bench.decide(groups=(group("STRICT_SPREAD", {"CPU": 1}, taken=("node-of-w1",)),))
    assert len(launch.names) == 1
    bench = Bench()
    running(bench, holds="1 bundle")
    assert bench.decide(groups=(group("STRICT_SPREAD", {"CPU": 1}),)) == []


def test_what_is_requested_and_cannot_be_had_is_told():
    bench = Bench()
    assert bench.decide(floor=(m.Want(ResourceSet.parse({"CPU": 64}), 2),)) == []
    assert bench.autoscaler.unmet == ["2 x request_resources asks for {CPU: 64}: no node type of the cluster has that"]


def test_there_are_never_more_of_a_type_than_it_may_have():
    bench = Bench(node_types=node_types(cpu=(0, 2)))
    [launch] = bench.decide(wants=[(ONE_CPU, 100)])
    assert len(launch.names) == 2
    bench.list(*(instance(name) for name in launch.names))
    for name in launch.names:
        bench.join(name, available={}, holds="4 tasks")
    assert bench.decide(wants=[(ONE_CPU, 92)]) == []
    assert "there are as many of cpu as there may be (max_workers)" in bench.autoscaler.unmet[0]


def test_the_minimum_is_made_whatever_the_speed():
    bench = Bench(node_types=node_types(cpu=(8, 10)))
    [launch] = bench.decide()
    assert len(launch.names) == 8


def test_the_speed_is_that_of_all_types_together():
    bench = Bench(max_workers=100, node_types=node_types(cpu=(0, 50), gpu=(0, 50)))
    launches = bench.decide(wants=[(GPU, 6), (ResourceSet.parse({"CPU": 4}), 100)])
    assert sum(len(one.names) for one in launches) == 5
    bench.list(*(instance(name, one.node_type, "starting") for one in launches for name in one.names))
    assert bench.decide() == [], "those that start still count"


def test_a_machine_that_is_told_to_go_is_no_more_of_the_minimum():
    bench = Bench(node_types=node_types(cpu=(1, 5)))
    running(bench, draining=True, holds="it is leaving")
    [launch] = bench.decide()
    assert launch.reason == "min_workers is 1"


def test_a_node_that_has_not_begun_to_drain_is_told_again():
    bench = Bench()
    running(bench)
    [order] = bench.decide(after=61)
    assert bench.decide(after=4) == []
    assert [one.node_id for one in bench.decide(after=2)] == [order.node_id]


def test_how_long_a_node_has_been_idle_counts_from_the_end_of_its_work():
    bench = Bench()
    running(bench)
    bench.now += 30
    bench.join("w1", available={"CPU": 39_999})  # news of an idle node
    assert [type(one) for one in bench.decide(after=31)] == [m.DrainNode]


def test_only_the_latest_news_are_kept():
    bench = Bench(node_types={"cpu": node_types()["cpu"]}, backoff=0.5, max_backoff=0.5)
    bench.decide(wants=[(ONE_CPU, 1)])
    for _ in range(200):
        for request in {one.request_id for one in bench.autoscaler.fleet.machines.values()}:
            bench.tell(m.LaunchAnswered(request, error="no"))
        bench.decide()
    assert len(bench.autoscaler.news) == 100


def test_groups_that_nothing_can_hold_do_not_keep_others_from_being_looked_at():
    bench = Bench()
    hopeless = tuple(group("STRICT_PACK", {"CPU": 100 + number}) for number in range(2 * MAX_GROUPS))
    decided = [bench.decide(groups=(*hopeless, group("STRICT_PACK", {"CPU": 3}))) for _ in range(4)]
    assert sum(len(launch.names) for commands in decided for launch in commands) == 1
