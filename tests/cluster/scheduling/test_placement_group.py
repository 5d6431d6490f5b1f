"""Placement groups: where bundles go, and that they are reserved all or none; with the real lease machines as nodes."""

from random import Random

import msgspec
import pytest

from limelight.cluster.scheduling import group_table as t
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.cluster_view import ClusterView
from limelight.cluster.scheduling.lease_message import NodeReport
from limelight.cluster.scheduling.placement_group import PlacementGroups, check_group
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.scheduling.scheduler import NodeLost, Scheduler
from limelight.cluster.scheduling.strategy import InBundle

from .node_driver import NodeDriver, of, spec

G, H = b"g" * 18, b"h" * 18


def cpus(*amounts):
    return tuple(ResourceSet.parse({"CPU": amount}) for amount in amounts)


class GroupDriver:
    """The head's groups and a few nodes; messages arrive at once unless the test holds them."""

    def __init__(self, **nodes):
        self.scheduler = Scheduler(ClusterView(Random(0)))
        self.groups = PlacementGroups(self.scheduler.view)
        self.nodes = {}
        self.now = 0.0
        self.silent: set[str] = set()
        self.heard: list[t.GroupView] = []
        for node_id, amount in nodes.items():
            self.add(node_id, amount)

    def add(self, node_id, amount):
        node = NodeDriver({"CPU": amount})
        node.now = self.now
        node.machine.node_id = node_id
        self.nodes[node_id] = node
        self.refresh(node_id)

    def refresh(self, node_id):
        """Let the head hear how the node stands."""
        node = self.nodes[node_id]
        node.machine._dirty = True
        self.hear(node_id, node.wait(0.06))
        self.scheduler.handle(of(NodeReport, node.said)[-1], self.now)

    def tell(self, event):
        commands = self.groups.handle(event, self.now)
        self.deliver(commands)
        return commands

    def deliver(self, commands):
        for command in commands:
            match command:
                case t.GroupChanged():
                    self.heard.append(command.view)
                case t.GroupToNode() if command.node_id in self.nodes and command.node_id not in self.silent:
                    node = self.nodes[command.node_id]
                    self.hear(command.node_id, node.tell(command.event))

    def create(self, *amounts, strategy="PACK", group_id=G, **fields):
        bundles = cpus(*amounts)
        return self.tell(t.CreateGroup(t.GroupSpec(group_id, bundles, strategy, **{"owner": "driver", **fields})))

    def hear(self, node_id, said):
        """A node's answers reach the head."""
        for answer in of(m.Reserved, said):
            self.tell(t.GroupFromNode(node_id, answer))

    def lose(self, node_id):
        del self.nodes[node_id]
        self.scheduler.handle(NodeLost(node_id), self.now)
        self.tell(t.GroupNodeLost(node_id))

    def later(self, seconds=0.5):
        """Time passes everywhere, and everybody is heard."""
        self.now += seconds
        for node_id, node in self.nodes.items():
            self.hear(node_id, node.wait(seconds, tick=seconds / 5))
            self.refresh(node_id)
        self.tell(t.PlaceGroups())

    def state(self, group_id=G):
        return self.groups.table.groups[group_id].state

    def view(self, group_id=G):
        return t.view_of(self.groups.table.groups[group_id])


@pytest.mark.parametrize(
    ("bundles", "strategy", "says"),
    [
        ((), "PACK", "at least one bundle"),
        (cpus(1, 0), "PACK", "Bundle 1 .* asks for nothing"),
        (cpus(1), "STRICT", "use one of PACK, SPREAD, STRICT_PACK, STRICT_SPREAD"),
    ],
)
def test_what_can_never_be_a_group_is_refused(bundles, strategy, says):
    with pytest.raises(ValueError, match=says):
        check_group(t.GroupSpec(G, bundles, strategy, "driver"))


def test_a_group_is_reserved_on_all_its_nodes_and_serves_leases():
    head = GroupDriver(a=4, b=4)
    head.create(1, 2, strategy="STRICT_SPREAD")
    assert head.state() == "CREATED"
    assert sorted(head.view().nodes) == ["a", "b"]
    node_id = head.view().nodes[1]
    assert of(m.Grant, head.nodes[node_id].demand(1, spec=spec(InBundle(G, 1), CPU=2)))


def test_creating_twice_reserves_once():
    head = GroupDriver(a=4)
    head.create(1)
    head.create(1)
    assert head.nodes["a"].available() == 3


def test_a_no_from_one_node_frees_the_others_and_it_is_tried_again():
    head = GroupDriver(a=4, b=4)
    head.nodes["b"].tell(m.RequestWorker("actor", spec(CPU=4)))  # the head has not heard of it yet
    head.create(1, 1, strategy="STRICT_SPREAD")
    assert head.state() == "PREPARING"
    head.later(1.5)
    assert head.state() == "PENDING"
    assert head.nodes["a"].available() == 4
    head.nodes["b"].tell(m.ReleaseWorker("actor"))
    for _ in range(4):
        head.later()
    assert head.state() == "CREATED"


def test_a_group_that_cannot_be_waits_with_the_reason_until_it_can():
    head = GroupDriver(a=4)
    head.create(3, 3)
    assert head.state() == "PENDING"
    assert "no nodes can hold" in head.view().problem
    head.add("b", 4)
    head.later()
    assert head.state() == "CREATED"


def test_groups_do_not_starve_behind_tasks_that_never_cease():
    head = GroupDriver(a=4)
    node = head.nodes["a"]
    node.demand(1000)
    head.refresh("a")
    head.create(2)
    for _ in range(20):
        head.later(0.3)
        for reclaim in of(m.Reclaim, node.said):
            head.hear("a", node.tell(m.LeaseReturned(reclaim.lease_id)))
        if head.state() == "CREATED":
            return
    pytest.fail("never reserved")


def test_two_groups_that_want_the_same_never_hold_half_each():
    head = GroupDriver(a=4, b=4)
    head.create(3, 3, strategy="STRICT_SPREAD")
    head.create(3, 3, strategy="STRICT_SPREAD", group_id=H)
    assert (head.state(G), head.state(H)) == ("CREATED", "PENDING")
    head.tell(t.RemoveGroup(G))
    for _ in range(4):
        head.later()
    assert head.state(H) == "CREATED"


def test_a_removed_group_gives_all_back_and_ends_what_runs_in_it():
    head = GroupDriver(a=4)
    head.create(2, name="x")
    node = head.nodes["a"]
    node.demand(1, spec=spec(InBundle(G)))
    head.tell(t.RemoveGroup(G, "remove_placement_group was called"))
    assert node.available() == 4
    assert not node.live
    assert head.groups.named("x", "") is None
    assert (head.state(), head.view().cause) == ("REMOVED", "remove_placement_group was called")
    head.create(2)
    assert head.state() == "REMOVED", "a late, doubled creation does not bring it back"


def test_bundles_of_a_dead_node_are_reserved_elsewhere_while_the_others_stay():
    head = GroupDriver(a=4, b=4)
    head.create(1, 1, strategy="SPREAD")
    head.tell(t.SubscribeGroup("driver", G))
    stays = head.view().nodes[0]
    lost = head.view().nodes[1]
    node = head.nodes[stays]
    node.demand(1, spec=spec(InBundle(G, 0)))
    head.lose(lost)
    assert head.state() in {"RESCHEDULING", "PREPARING", "CREATED"}
    for _ in range(3):
        head.later()
    assert head.state() == "CREATED"
    assert head.view().nodes == (stays, stays)
    assert len(node.held()) == 1, "what ran in the other bundle goes on"
    assert "RESCHEDULING" in [view.state for view in head.heard]


def test_a_node_that_dies_while_it_is_asked_is_replaced():
    head = GroupDriver(a=4, b=2)
    head.silent.add("a")
    head.create(3)
    assert head.state() == "PREPARING"
    head.add("c", 4)
    head.lose("a")
    head.later()
    assert (head.state(), head.view().nodes) == ("CREATED", ("c",))


def test_a_node_that_never_answers_is_given_up():
    head = GroupDriver(a=4)
    head.silent.add("a")
    head.create(1)
    assert head.groups.wake_at() == pytest.approx(10.0)
    head.silent.clear()
    head.later(11)
    head.later()
    assert head.state() == "CREATED"
    assert head.nodes["a"].available() == 3


def test_a_group_ends_with_its_owner_unless_detached():
    head = GroupDriver(a=4)
    head.create(1)
    head.create(1, group_id=H, detached=True)
    head.tell(t.GroupOwnerLost("driver", "the driver exited"))
    assert (head.state(G), head.state(H)) == ("REMOVED", "CREATED")
    assert head.nodes["a"].available() == 3


def test_names_are_unique():
    head = GroupDriver(a=4)
    head.create(1, name="x")
    (answer,) = of(t.GroupCreated, head.create(1, name="x", group_id=H))
    assert "taken" in answer.error
    assert head.groups.named("x", "").group_id == G


def test_a_restarted_head_goes_on_from_its_table():
    head = GroupDriver(a=4, b=4)
    head.create(1, name="x")
    head.silent.update("ab")
    head.create(2, group_id=H)
    assert head.state(H) == "PREPARING"
    stored = msgspec.msgpack.encode(head.groups.table)
    head.silent.clear()
    head.groups = PlacementGroups(head.scheduler.view)
    head.deliver(head.groups.restore(msgspec.msgpack.decode(stored, type=t.GroupTable), head.now))
    head.later()
    assert (head.state(G), head.state(H)) == ("CREATED", "CREATED")
    assert sum(node.available() for node in head.nodes.values()) == 5
    assert head.groups.named("x", "").group_id == G
