"""Whoever waits in vain is told once: what was asked for, what the cluster has, what is in use, and what to do."""

from limelight.cluster.scheduling import actor_table as t
from limelight.cluster.scheduling import group_table
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.cluster_view import GroupStanding
from limelight.cluster.scheduling.explanation import WARN_AFTER
from limelight.cluster.scheduling.lease_message import Infeasible
from limelight.cluster.scheduling.strategy import InBundle, NodeAffinity

from .node_driver import of, spec
from .test_available_resources import ACTORS, CALLER, GROUP, OneNode
from .test_placement_group import G, GroupDriver

IN_USE = "The cluster has CPU 2 (2 in use, 2 of it by actors and placement groups) on 1 node. End actors"


class Told(OneNode):
    """A node of two CPUs, and what a subscriber to the actors hears of why they wait."""

    def __init__(self, cpus=2):
        self.problems = []
        super().__init__(cpus)

    def carry_out(self, commands):
        self.problems += [c.view.problem for c in of(t.ActorChanged, commands) if c.view.problem]
        super().carry_out(commands)

    def actor(self, actor_id=ACTORS[0], lease=None):
        super().actor(actor_id, lease)
        self.to_directory(t.Subscribe("watcher", actor_id))

    def infeasible(self):
        return [said.text for said in of(Infeasible, self.node.said)]


def full_of_actors():
    told = Told()
    for actor_id in ACTORS[:2]:
        told.actor(actor_id)
    return told


def test_an_actor_that_others_leave_no_room_is_explained_once_after_a_while():
    told = full_of_actors()
    told.actor(ACTORS[2])
    told.wait(WARN_AFTER - 1)
    assert told.problems == [], "room may come free"
    told.wait(30)
    (text,) = told.problems
    assert text.startswith("{CPU: 1} is asked for and has not come free in 10 s. " + IN_USE)
    told.to_directory(t.KillActor(ACTORS[0]))
    told.wait(2)
    record = told.directory.table.actors[ACTORS[2]]
    assert record.worker_id
    assert record.problem == ""


def test_an_actor_that_waits_for_a_long_task_is_explained_too():
    told = Told()
    told.node.demand(1, CALLER, spec=spec(CPU=2))
    told.actor()
    told.wait(WARN_AFTER + 2)
    (text,) = told.problems
    assert "CPU 2 (2 in use) on 1 node" in text


def test_an_actor_whose_worker_takes_long_to_start_does_not_wait_for_room():
    told = Told()
    told.node.start_workers = False
    told.actor(lease=spec(env_key="large"))
    told.wait(3 * WARN_AFTER)
    assert told.problems == []


def test_an_actor_that_no_node_can_hold_is_explained_at_once_and_once():
    told = Told()
    told.actor(lease=spec(CPU=7))
    (text,) = told.problems
    assert text == (
        "{CPU: 7} is asked for; the most that any node has: CPU 2. The cluster has CPU 2 on 1 node. Add such a node, "
        "or ask for less."
    )
    told.node.demand(1, CALLER)
    told.wait(30)
    assert len(told.problems) == 1, "that the figures change is no news"


def test_a_task_that_actors_leave_no_room_is_explained_once():
    told = full_of_actors()
    told.node.demand(3, CALLER)
    told.wait(WARN_AFTER - 1)
    assert told.infeasible() == []
    told.wait(30)
    (text,) = told.infeasible()
    assert text.startswith("{CPU: 1} is asked for and has not come free in 10 s. " + IN_USE)
    told.to_directory(t.KillActor(ACTORS[0]))
    told.wait(1)
    assert told.node.held(CALLER), "it was not given up"


def test_a_task_behind_other_tasks_is_not_for_that_is_what_queues_are():
    told = Told()
    told.node.demand(100, CALLER)
    told.node.demand(1, "other")
    told.wait(3 * WARN_AFTER)
    assert told.infeasible() == []


def test_a_task_bound_to_a_full_node_is_explained_though_others_have_room():
    told = full_of_actors()
    two = spec(CPU=2).resources
    told.scheduler.handle(m.NodeReport("empty", 1, two, two.units(), {}, {}), told.node.now)
    told.node.demand(1, CALLER, spec=spec(NodeAffinity("here")))
    told.wait(WARN_AFTER + 2)
    (text,) = told.infeasible()
    assert "{CPU: 1} is asked for on node here" in text
    assert "on 2 nodes" in text


def test_a_task_that_no_node_can_hold_is_explained_at_once_and_once():
    told = Told()
    told.node.demand(1, CALLER, spec=spec(CPU=7))
    told.wait(1)
    told.actor()
    told.wait(30)
    (text,) = told.infeasible()
    assert "the most that any node has: CPU 2" in text


def test_a_task_in_a_bundle_that_an_actor_has_is_explained():
    told = Told()
    told.to_node(m.ReservePrepare(GROUP, 1, {0: spec().resources}))
    told.to_node(m.ReserveCommit(GROUP, 1))
    told.actor(lease=spec(InBundle(GROUP)))
    told.wait(1)
    told.node.demand(1, CALLER, spec=spec(InBundle(GROUP)))
    told.wait(WARN_AFTER + 2)
    (text,) = told.infeasible()
    assert f"in placement group {GROUP.hex()} and has not come free" in text
    assert "its bundles are taken by actors" in text


def test_a_task_in_a_group_that_cannot_be_is_told_what_the_group_waits_for():
    told = Told()
    told.scheduler.view.groups[GROUP] = GroupStanding("no nodes can hold its bundles.", infeasible=True)
    told.node.demand(1, CALLER, spec=spec(InBundle(GROUP)))
    told.wait(1)
    (text,) = told.infeasible()
    assert text == f"its placement group {GROUP.hex()} is not reserved: no nodes can hold its bundles."


class Groups(GroupDriver):
    """Keeps what is said of groups that wait."""

    def __init__(self, **nodes):
        self.overdue = []
        super().__init__(**nodes)

    def deliver(self, commands):
        self.overdue += of(group_table.GroupOverdue, commands)
        super().deliver(commands)


def test_a_group_that_cannot_be_is_explained_at_once_and_once():
    head = Groups(a=4)
    head.create(3, 3)
    for _ in range(20):
        head.later(1)
    (said,) = head.overdue
    assert said == group_table.GroupOverdue(
        G,
        "no nodes can hold its 2 bundles ({CPU: 6} in all) as PACK. The cluster has CPU 4 on 1 node. Add nodes that "
        "can, or ask for less.",
    )
    assert head.scheduler.view.groups[G].infeasible


def test_a_group_that_others_leave_no_room_is_explained_once_after_a_while():
    head = Groups(a=4)
    head.nodes["a"].tell(m.RequestWorker("actor", spec(CPU=3)))
    head.refresh("a")
    head.create(1, 1)
    for _ in range(int(WARN_AFTER) - 1):
        head.later(1)
    assert head.overdue == []
    for _ in range(20):
        head.later(1)
    (said,) = head.overdue
    assert said.text.startswith(
        "{CPU: 2} is asked for (in 2 bundles, PACK) and has not come free. The cluster has CPU 4 (3 in use, 3 of it by "
        "actors and placement groups) on 1 node. End actors and remove placement groups that are not needed"
    )
    head.hear("a", head.nodes["a"].tell(m.ReleaseWorker("actor")))
    for _ in range(5):
        head.later(1)
    assert head.state() == "CREATED"
    assert head.scheduler.view.groups[G] == GroupStanding()
