"""The head's scheduler: where demand goes that its own node cannot meet."""

from random import Random

from limelight.cluster.scheduling.cluster_view import ClusterView
from limelight.cluster.scheduling.lease_message import NodeReport, PeersChanged, Place, UnmetDemand, Unplaceable
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.scheduler import NodeLost, Scheduler, SchedulerTick, ToNode
from limelight.cluster.scheduling.strategy import NodeAffinity, Spread

from .node_driver import spec


class Head:
    """A scheduler that is told of nodes in short."""

    def __init__(self, **options):
        self.scheduler = Scheduler(ClusterView(Random(0)), **options)
        self.now = 0.0
        self.versions = {}

    def report(self, node_id, free, *unmet, cpus=4, version=None):
        self.versions[node_id] = version or self.versions.get(node_id, 0) + 1
        total = ResourceSet.parse({"CPU": cpus})
        event = NodeReport(node_id, self.versions[node_id], total, {"CPU": free * 10_000}, {}, {}, unmet=tuple(unmet))
        return self.placed(self.scheduler.handle(event, self.now))

    def tick(self, seconds=0.0):
        self.now += seconds
        return self.placed(self.scheduler.handle(SchedulerTick(), self.now))

    @staticmethod
    def placed(commands: list[ToNode]):
        return [(command.node_id, command.event) for command in commands if not isinstance(command.event, PeersChanged)]


def ask(count, seen=0, ask_id=1, what=None):
    return UnmetDemand(ask_id, what or spec(), count, seen)


def test_unmet_demand_goes_where_there_is_room():
    head = Head()
    head.report("b", 4)
    assert head.report("a", 0, ask(3)) == [("a", Place(1, "b", 3))]


def test_what_was_placed_is_not_placed_again_before_the_node_knows():
    head = Head()
    head.report("b", 4)
    head.report("a", 0, ask(2))
    assert head.report("a", 0, ask(2)) == []
    assert head.report("a", 0, ask(1, seen=2)) == [("a", Place(1, "b", 3))]


def test_a_placement_that_got_lost_is_told_again():
    head = Head()
    head.report("b", 4)
    head.report("a", 0, ask(2))
    head.now += 1
    assert head.report("a", 0, ask(2)) == [("a", Place(1, "b", 2))]


def test_no_cpu_is_given_to_two():
    head = Head()
    head.report("c", 2)
    head.report("a", 0, ask(2))
    assert head.report("b", 0, ask(2)) == []
    assert head.scheduler.pending() == {(spec().resources, ()): 2}


def test_what_waits_is_placed_when_room_comes_free_each_in_turn():
    head = Head()
    head.report("a", 0, ask(5))
    head.report("b", 0, ask(5))
    served = []
    for _ in range(3):
        served += [node for node, _ in head.report("c", 1)]
        head.now += 1
    assert served == ["a", "b", "a"]


def test_demand_that_ends_is_placed_no_more():
    head = Head()
    head.report("a", 0, ask(5))
    head.report("a", 0)
    assert head.report("b", 4) == []
    assert head.scheduler.pending() == {}


def test_demand_of_a_lost_node_is_placed_no_more_nor_anything_on_it():
    head = Head()
    head.report("a", 0, ask(5))
    head.report("b", 0)
    head.scheduler.handle(NodeLost("a"), head.now)
    assert head.report("b", 4) == []
    assert list(head.scheduler.view.nodes) == ["b"]


def test_what_no_node_can_hold_is_said_once_and_placed_when_one_comes():
    head = Head()
    big = ask(1, what=spec(CPU=16))
    ((node, said),) = head.report("a", 4, big)
    assert node == "a"
    assert isinstance(said, Unplaceable)
    assert "CPU 4" in said.text
    assert head.report("a", 4, big) == []
    assert head.report("b", 16, cpus=16) == [("a", Place(1, "b", 1))]


def test_hard_affinity_waits_at_its_node_and_fails_when_that_is_gone():
    head = Head()
    head.report("b", 0)
    pinned = ask(3, what=spec(NodeAffinity("b")))
    assert head.report("a", 4, pinned) == [("a", Place(1, "b", 3))]
    head.scheduler.handle(NodeLost("b"), head.now)
    ((_, said),) = head.report("a", 4, ask(1, ask_id=2, what=spec(NodeAffinity("b"))))
    assert said.fatal


def test_after_a_restart_nothing_is_hopeless_until_nodes_had_time_to_report():
    head = Head(settle_until=5.0)
    pinned = ask(1, what=spec(NodeAffinity("b")))
    assert head.report("a", 4, pinned) == []
    assert head.report("b", 4) == [("a", Place(1, "b", 1))]


def test_spread_goes_to_nodes_in_turn_the_own_among_them():
    head = Head()
    for name in "bcd":
        head.report(name, 4)
    placed = head.report("a", 4, ask(4, what=spec(Spread())))
    assert sorted(event.node_id for _, event in placed) == ["a", "b", "c", "d"]


def test_an_ask_that_waits_long_is_queued_where_it_could_run():
    head = Head()
    head.report("gpu", 0, cpus=16)
    assert head.report("a", 0, ask(2, what=spec(CPU=8))) == []
    assert head.tick(1.0) == [("a", Place(1, "gpu", 1))]


def test_only_nodes_that_become_or_cease_to_be_alone_hear_of_peers():
    head = Head()
    told = []
    for name in "abc":
        event = NodeReport(name, 1, ResourceSet.parse({"CPU": 1}), {"CPU": 0}, {}, {})
        told.append([(c.node_id, c.event) for c in head.scheduler.handle(event, 0.0)])
    assert told == [[], [("a", PeersChanged(1)), ("b", PeersChanged(1))], [("c", PeersChanged(2))]]
    assert head.scheduler.handle(NodeLost("b"), 0.0) == []
    assert head.scheduler.handle(NodeLost("a"), 0.0) == [ToNode("c", PeersChanged(0))]
