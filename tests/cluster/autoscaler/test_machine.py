"""The autoscaler, event by event."""

from limelight.cluster.autoscaler import message as m
from limelight.cluster.autoscaler.config import ScalingConfig
from limelight.cluster.autoscaler.machine import Autoscaler
from limelight.cluster.provider.instance import Instance, NodeType
from limelight.cluster.scheduling.resources import ResourceSet

ONE_CPU = ResourceSet.parse({"CPU": 1})
GPU = ResourceSet.parse({"GPU": 1})


def node_types(**bounds):
    types = {
        "cpu": NodeType(name="cpu", resources=ResourceSet.parse({"CPU": 4}), max_workers=10),
        "gpu": NodeType(name="gpu", resources=ResourceSet.parse({"CPU": 8, "GPU": 2}), max_workers=4),
    }
    for name, (least, most) in bounds.items():
        types[name] = NodeType(
            name=name,
            resources=types[name].resources if name in types else ONE_CPU,
            min_workers=least,
            max_workers=most,
        )
    return types


class Bench:
    """An autoscaler, and a clock; collects what it says."""

    def __init__(self, incarnation="a", listed=(), **options):
        options.setdefault("node_types", node_types())
        options.setdefault("max_workers", 12)
        self.config = ScalingConfig(idle_timeout=60, **options)
        self.autoscaler = Autoscaler(self.config, incarnation, lambda: 1.0)
        self.now = 100.0
        self.instances = {}
        if listed is not None:
            self.tell(m.InstancesListed(tuple(listed), self.now))

    def tell(self, event):
        return self.autoscaler.handle(event, self.now)

    def decide(self, after=1.0, wants=None, **load):
        self.now += after
        if wants is not None or load:
            self.tell(m.LoadSeen(tuple(m.Want(shape, count) for shape, count in wants or ()), **load))
        return self.tell(m.Decide())

    def list(self, *instances, asked_at=None):
        return self.tell(m.InstancesListed(instances, self.now if asked_at is None else asked_at))

    def join(self, name, node_type="cpu", **state):
        kind = (node_types() | self.config.node_types)[node_type]
        total = kind.resources
        free = {"GPU": {0: 10_000, 1: 10_000}} if total.get("GPU") else {}
        labels = kind.node_labels(name)
        state = {"available": total.units(), "free": free, "labels": labels, **state}
        return self.tell(m.NodeSeen(f"node-of-{name}", name, total, **state))


def instance(name, node_type="cpu", state="running", **about):
    return Instance(name, f"id-of-{name}", node_type, state, **about)


def running(bench, node_type="cpu", name="w1", **state):
    """An instance whose node has joined."""
    bench.list(*[one.instance for one in bench.autoscaler.fleet.machines.values() if one.instance],
               instance(name, node_type))  # fmt: skip
    bench.join(name, node_type, **state)


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


def test_a_request_without_an_answer_is_repeated_as_it_is():
    bench = Bench()
    [launch] = bench.decide(wants=[(ONE_CPU, 1)])
    assert bench.decide(after=20) == []
    [again] = bench.decide(after=20)
    assert (again.request_id, again.names) == (launch.request_id, launch.names)


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


def test_an_instance_that_somebody_else_ends_is_no_more_counted_on():
    bench = Bench(node_types=node_types(cpu=(1, 3)))
    running(bench)
    bench.list(instance("w1", state="ending"))
    [launch] = bench.decide()
    assert isinstance(launch, m.Launch)
