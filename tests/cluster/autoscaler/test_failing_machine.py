"""The autoscaler, event by event: what goes wrong with machines and with those who give them."""

from limelight.cluster.autoscaler import message as m
from limelight.cluster.autoscaler.backoff import Backoff
from limelight.cluster.autoscaler.config import ScalingConfig

from .bench import ONE_CPU, Bench, instance, node_types, running


def failing(bench):
    """The types whose launches are left alone for now."""
    return list(bench.autoscaler.backoff.failures)


def test_a_request_without_an_answer_is_repeated_as_it_is():
    bench = Bench()
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    assert bench.decide(after=20) == []
    [again] = bench.decide(after=20)
    assert (again.request_id, again.names) == (launch.request_id, launch.names)
    assert bench.decide(after=20) == []


def test_a_listing_that_is_older_than_a_request_says_nothing_about_it():
    bench = Bench()
    before = bench.now
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    bench.tell(m.LaunchAnswered(launch.request_id, (instance(launch.names[0], state="starting"),)))
    bench.list(asked_at=before)
    assert list(bench.autoscaler.fleet.machines) == list(launch.names)
    assert bench.autoscaler.backoff.failures == {}
    bench.now += 1
    bench.list()
    assert "gone" in bench.autoscaler.news[-1][1]


def test_what_was_asked_for_and_is_not_listed_yet_may_still_come():
    bench = Bench()
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    bench.now += 1
    bench.list()
    assert list(bench.autoscaler.fleet.machines) == list(launch.names)
    assert bench.decide() == []


def test_failed_launches_are_backed_off_and_another_type_is_taken_meanwhile():
    bench = Bench(node_types=node_types(big=(0, 5)), backoff=4)
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    assert launch.node_type == "big"
    bench.tell(m.LaunchAnswered(launch.request_id, error="quota exceeded"))
    [other] = bench.decide()
    assert other.node_type == "cpu"
    assert ("big", 1) in [(name, failure.times) for name, failure in bench.autoscaler.backoff.failures.items()]
    assert any("quota exceeded" in text for _, text in bench.autoscaler.news)


def test_pauses_double_and_end_when_a_machine_joins():
    bench = Bench(node_types={"cpu": node_types()["cpu"]}, backoff=4, max_backoff=20)
    pauses = []
    failed_at = None
    bench.decide(wants=[(ONE_CPU, 1)])
    launches = list(bench.autoscaler.fleet.machines.values())
    for _ in range(5):
        bench.tell(m.LaunchAnswered(launches[0].request_id, error="no"))
        failed_at = bench.now
        while not bench.decide():
            pass
        pauses.append(bench.now - failed_at)
        launches = list(bench.autoscaler.fleet.machines.values())
    assert pauses == [4, 8, 16, 20, 20]
    bench.list(instance(launches[0].name))
    bench.join(launches[0].name)
    assert bench.autoscaler.backoff.failures == {}


def test_what_was_launched_in_part_counts_in_part():
    bench = Bench()
    [launch] = bench.decide(wants=[(ONE_CPU, 12)])
    made = instance(launch.names[1], state="starting")
    bench.tell(m.LaunchAnswered(launch.request_id, (made,), "quota exceeded"))
    assert list(bench.autoscaler.fleet.machines) == [made.name]


def test_each_way_in_which_a_launch_comes_to_nothing_is_backed_off():
    for happens in (
        lambda bench, name: bench.list(instance(name, state="failed", text="no valid host")),
        lambda bench, name: bench.list(instance(name, state="ending")),
        lambda bench, name: [bench.list(instance(name)), bench.decide(), bench.list()],
        lambda bench, name: [bench.list(instance(name)), bench.decide(after=101)],
        lambda bench, name: bench.decide(after=101),
    ):
        bench = Bench(node_types={"cpu": node_types()["cpu"]}, launch_timeout=100, answer_timeout=1000, backoff=50)
        [launch] = bench.decide(wants=[(ONE_CPU, 1)])
        happens(bench, launch.names[0])
        assert failing(bench) == ["cpu"]
        assert not [one for one in bench.decide() if isinstance(one, m.Launch)]
        assert [one.node_type for one in bench.decide(after=51) if isinstance(one, m.Launch)] == ["cpu"]


def test_what_the_provider_never_answered_for_is_given_up_and_adopted_should_it_come_all_the_same():
    bench = Bench(node_types={"cpu": node_types()["cpu"]}, launch_timeout=100, answer_timeout=1000, backoff=1000)
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    bench.decide(after=101)
    assert not bench.autoscaler.fleet.machines
    assert "the provider never answered" in bench.autoscaler.news[-1][1]
    bench.list(instance(launch.names[0]))
    bench.join(launch.names[0])
    assert bench.autoscaler.fleet.machines[launch.names[0]].stage == "joined"


def test_what_ended_before_the_autoscaler_began_is_no_failure():
    for state in ("ending", "failed"):
        bench = Bench(listed=[instance("old", state=state)])
        assert failing(bench) == []


def test_a_machine_that_is_taken_away_after_it_has_served_is_no_failed_launch():
    """As a pod that is evicted, or a job that has had its time."""
    bench = Bench()
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    [name] = launch.names
    bench.list(instance(name))
    bench.join(name, available={}, holds="1 task")
    bench.tell(m.NodeGone(f"node-of-{name}"))
    [end] = bench.list(instance(name, state="failed", text="Evicted"))
    assert end.names == {f"id-of-{name}": name}
    assert failing(bench) == []
    assert [one.node_type for one in bench.decide(wants=[(ONE_CPU, 1)])] == ["cpu"], "and replaced at once"


def test_what_the_provider_calls_failed_is_left_alone_while_its_node_serves():
    bench = Bench()
    running(bench, holds="1 task")
    assert bench.list(instance("w1", state="failed")) == []
    assert [
        type(one) for one in [*bench.tell(m.NodeGone("node-of-w1")), *bench.list(instance("w1", state="failed"))]
    ] == [m.Terminate]


def test_a_machine_whose_node_was_started_again_is_known_by_the_newer_one():
    bench = Bench()
    running(bench, holds="1 task")
    kind = node_types()["cpu"]

    def second(**state):
        about = {"available": kind.resources.units(), "free": {}, "labels": kind.node_labels("w1"), **state}
        return bench.tell(m.NodeSeen("second", "w1", kind.resources, **about))

    second()
    bench.join("w1", holds="")  # of the first it was heard once more, before it is given up
    machine = bench.autoscaler.fleet.machines["w1"]
    assert machine.node_id == "second"
    bench.tell(m.NodeGone("node-of-w1"))
    assert (machine.stage, machine.node_id) == ("joined", "second")
    assert bench.decide(after=59) == [], "and is not taken for lost"


def test_of_two_nodes_on_a_machine_the_one_that_stays_counts():
    bench = Bench()
    running(bench, holds="1 task")
    kind = node_types()["cpu"]
    bench.tell(m.NodeSeen("second", "w1", kind.resources, kind.resources.units(), {}, kind.node_labels("w1")))
    bench.tell(m.NodeGone("second"))
    assert bench.autoscaler.fleet.machines["w1"].node_id == "node-of-w1"
    assert bench.decide(after=1000) == []


def test_an_idle_node_from_before_does_not_have_the_newer_one_drained():
    bench = Bench()
    running(bench)
    kind = node_types()["cpu"]
    bench.tell(m.NodeSeen("second", "w1", kind.resources, {}, {}, kind.node_labels("w1"), "1 task"))
    assert bench.decide(after=1000) == []


def test_a_machine_that_never_joins_is_ended_and_replaced():
    bench = Bench(launch_timeout=100, backoff=1)
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    name = launch.names[0]
    bench.list(instance(name))
    ended = bench.decide(after=101)
    assert m.Terminate({f"id-of-{name}": name}, "its node has not joined within 100 s") in ended
    [replacement] = [one for one in ended + bench.decide(after=2) if isinstance(one, m.Launch)]
    assert replacement.names != launch.names


def test_a_failed_instance_is_cleared_away():
    bench = Bench()
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    name = launch.names[0]
    told = bench.list(instance(name, state="failed", text="No valid host was found"))
    assert told == [m.Terminate({f"id-of-{name}": name}, "it failed: No valid host was found")]
    assert bench.list(instance(name, state="failed")) == [], "not again and again"
    bench.now += 31
    assert len(bench.list(instance(name, state="failed"))) == 1, "but again after a while"


def test_what_had_failed_before_is_cleared_away_and_no_reason_to_wait():
    bench = Bench(listed=[instance("old", state="failed", text="long ago")])
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    assert launch.node_type == "cpu"


def test_a_machine_whose_node_is_lost_is_ended_unless_it_comes_back():
    bench = Bench(rejoin_timeout=30)
    running(bench, holds="1 task")
    running(bench, name="w2", holds="1 task")
    bench.tell(m.NodeGone("node-of-w1"))
    bench.tell(m.NodeGone("node-of-w2"))
    bench.decide(after=20)
    bench.join("w2", holds="1 task")
    [end] = bench.decide(after=20)
    assert end.names == {"id-of-w1": "w1"}


def test_an_instance_that_somebody_else_ends_is_no_more_counted_on():
    bench = Bench(node_types=node_types(cpu=(1, 3)))
    running(bench)
    bench.list(instance("w1", state="ending"))
    [launch] = bench.decide()
    assert isinstance(launch, m.Launch)


def test_a_node_that_joins_when_its_machine_was_given_up_does_not_save_it():
    """Work may be planned on the machine that replaces it; and what is told to end must end, or it is paid for."""
    bench = Bench(launch_timeout=100)
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    [name] = launch.names
    bench.list(instance(name))
    assert name in [*next(one for one in bench.decide(after=101) if isinstance(one, m.Terminate)).names.values()]
    bench.join(name)
    bench.now += 31
    assert [type(one) for one in bench.list(instance(name))] == [m.Terminate], "and it is told again"


def test_those_that_fail_together_count_once_and_clusters_do_not_come_back_together():
    config = ScalingConfig(node_types={}, max_workers=1, backoff=8)
    pauses = []
    for jitter in (0.0, 1.0):
        backoff = Backoff(config, lambda jitter=jitter: jitter)
        backoff.failed("cpu", "one", 100.0)
        backoff.failed("cpu", "two", 100.0)
        failure = backoff.failures["cpu"]
        assert (failure.times, failure.text) == (1, "two")
        pauses.append(failure.until - 100.0)
    assert pauses == [6.0, 8.0]
