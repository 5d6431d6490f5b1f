"""The life of actors as the head sees it."""

from random import Random

import msgspec
import pytest

from limelight.cluster.scheduling import actor_table as t
from limelight.cluster.scheduling.actor_directory import ActorDirectory
from limelight.cluster.scheduling.cluster_view import ClusterView
from limelight.cluster.scheduling.lease_message import (
    NodeReport,
    ReleaseWorker,
    RequestedWorkerLost,
    RequestWorker,
    WorkerGranted,
    WorkerRefused,
    WorkersHeld,
)
from limelight.cluster.scheduling.resources import EMPTY, ResourceSet
from limelight.cluster.scheduling.scheduler import NodeLeaving, NodeLost, Scheduler
from limelight.cluster.scheduling.strategy import LeaseSpec, NodeAffinity
from limelight.transport.address import ProcessAddress

from .node_driver import of, spec

A, B = b"a" * 16, b"b" * 16
ADDRESS = ProcessAddress("p", "h", "/tmp/s")
BOOM = t.DeathCause("constructor_failed", "ValueError: no", b"pickled")


class HeadDriver:
    """A directory over a scheduler with nodes of 4 CPUs, and nodes that grant what the test says."""

    def __init__(self, *nodes, cpus=4):
        self.scheduler = Scheduler(ClusterView(Random(0)))
        self.directory = ActorDirectory(self.scheduler)
        self.now = 0.0
        self.versions = {}
        for node_id in nodes:
            self.node(node_id, cpus)

    def node(self, node_id, free):
        self.versions[node_id] = self.versions.get(node_id, 0) + 1
        total = ResourceSet.parse({"CPU": 4})
        self.scheduler.handle(
            NodeReport(node_id, self.versions[node_id], total, {"CPU": free * 10_000}, {}, {}), self.now
        )

    def tell(self, event):
        return self.directory.handle(event, self.now)

    def register(self, actor_id=A, get_if_exists=False, lease=None, **fields):
        fields = {"owner": "driver", **fields}
        return self.tell(
            t.RegisterActor(t.ActorSpec(actor_id, "Counter", lease=lease or spec(), **fields), get_if_exists)
        )

    def record(self, actor_id=A):
        return self.directory.table.actors[actor_id]

    def grant(self, actor_id=A, worker="w"):
        record = self.record(actor_id)
        return self.tell(t.FromNode(record.node_id, WorkerGranted(record.request_id, 1, worker, {})))

    def live(self, actor_id=A, worker="w", **fields):
        """Register an actor and bring it up; returns its request's id."""
        self.register(actor_id, **fields)
        self.grant(actor_id, worker)
        self.tell(t.ActorCreated(actor_id, 0, ADDRESS))
        assert self.state(actor_id) == "ALIVE"
        return self.record(actor_id).request_id

    def lose_worker(self, actor_id=A, text="signal 9"):
        record = self.record(actor_id)
        return self.tell(t.FromNode(record.node_id, RequestedWorkerLost(record.request_id, record.worker_id, text)))

    def state(self, actor_id=A):
        return self.record(actor_id).state


def sent(kind, said):
    """What went to lease machines, of one type."""
    return [command.event for command in of(t.ToLeaseMachine, said) if isinstance(command.event, kind)]


def test_an_actor_is_registered_placed_created_and_alive():
    head = HeadDriver("n")
    said = head.register(creation=b"code")
    assert of(t.ActorRegistered, said)[0].view.state == "PENDING_CREATION"
    (request,) = sent(RequestWorker, said)
    assert request.spec == spec()
    (create,) = head.grant()
    assert create == t.CreateActor("n", "w", A, 0, b"code", {})
    head.tell(t.ActorCreated(A, 0, ADDRESS))
    assert head.state() == "ALIVE"
    assert head.directory.views()[0].address == ADDRESS


def test_registering_twice_creates_once():
    head = HeadDriver("n")
    head.register()
    said = head.register()
    assert not sent(RequestWorker, said)
    assert of(t.ActorRegistered, said)[0].view.actor_id == A


def test_subscribers_hear_every_change_and_the_state_at_once():
    head = HeadDriver("n")
    head.register(max_restarts=1)
    assert head.tell(t.Subscribe("p", A))[0].view.state == "PENDING_CREATION"
    head.grant()
    changes = head.tell(t.ActorCreated(A, 0, ADDRESS)) + head.lose_worker()
    head.grant()
    changes += head.tell(t.ActorCreated(A, 1, ADDRESS)) + head.lose_worker()
    assert [(c.view.state, c.view.incarnation) for c in of(t.ActorChanged, changes)] == [
        ("ALIVE", 0),
        ("RESTARTING", 1),
        ("ALIVE", 1),
        ("DEAD", 1),
    ]
    assert of(t.ActorChanged, changes)[-1].view.cause == t.DeathCause("worker_died", "signal 9")


def test_doubled_and_late_news_of_an_earlier_incarnation_changes_nothing():
    head = HeadDriver("n")
    first = head.live(max_restarts=-1)
    head.lose_worker()
    head.tell(t.FromNode("n", RequestedWorkerLost(first, "w", "again")))
    head.grant()
    head.tell(t.ActorCreated(A, 0, ADDRESS))
    head.tell(t.ActorExited(A, 0, BOOM))
    head.tell(t.ActorCreationFailed(A, 0, BOOM))
    assert (head.state(), head.record().incarnation) == ("RESTARTING", 1)


@pytest.mark.parametrize(("max_restarts", "lives"), [(0, 1), (2, 3)])
def test_restarts_are_counted(max_restarts, lives):
    head = HeadDriver("n")
    head.live(max_restarts=max_restarts)
    for incarnation in range(1, lives):
        head.lose_worker()
        assert head.state() == "RESTARTING"
        head.grant()
        head.tell(t.ActorCreated(A, incarnation, ADDRESS))
    head.lose_worker()
    assert head.state() == "DEAD"


def test_a_constructor_that_fails_is_the_cause_carried_as_it_came():
    head = HeadDriver("n")
    head.register(max_restarts=-1)
    head.grant()
    said = head.tell(t.ActorCreationFailed(A, 0, BOOM))
    assert sent(ReleaseWorker, said)
    assert (head.state(), head.record().cause) == ("DEAD", BOOM)


def test_a_lost_node_restarts_its_actors_elsewhere_and_moves_those_not_granted_yet():
    head = HeadDriver("n")
    head.live(max_restarts=1)
    head.register(B)
    head.node("m", 4)
    head.scheduler.handle(NodeLost("n"), 0.0)
    said = head.tell(t.ActorNodeLost("n", "missed heartbeats"))
    assert {command.node_id for command in of(t.ToLeaseMachine, said) if isinstance(command.event, RequestWorker)} == {
        "m"
    }
    assert (head.record(A).incarnation, head.record(B).incarnation) == (1, 0)
    assert head.record(A).cause == t.DeathCause("node_died", "missed heartbeats")


def test_names_are_unique_in_their_namespace_and_free_after_death():
    head = HeadDriver("n")
    head.register(A, name="x", namespace="s")
    said = head.register(B, name="x", namespace="s")
    assert "taken by actor" in of(t.ActorRegistered, said)[0].error
    assert head.directory.named("x", "s").actor_id == A
    assert head.directory.named("x", "other") is None
    head.tell(t.KillActor(A))
    assert head.directory.named("x", "s") is None
    assert not of(t.ActorRegistered, head.register(B, name="x", namespace="s"))[0].error


def test_get_if_exists_finds_the_one_that_came_first():
    head = HeadDriver("n")
    head.register(A, name="x", get_if_exists=True)
    (answer,) = head.register(B, name="x", get_if_exists=True, owner="other")
    assert (answer.process_id, answer.actor_id, answer.view.actor_id) == ("other", B, A)
    assert B not in head.directory.table.actors


def test_kill_ends_for_good_and_kill_with_restart_restarts():
    head = HeadDriver("n")
    head.live(max_restarts=1)
    assert sent(ReleaseWorker, head.tell(t.KillActor(A, no_restart=False)))
    assert head.state() == "RESTARTING"
    head.grant()
    head.tell(t.ActorCreated(A, 1, ADDRESS))
    head.tell(t.KillActor(A))
    head.tell(t.KillActor(A))
    assert head.record().cause.kind == "killed"


def test_an_actor_ends_with_its_owner_unless_detached():
    head = HeadDriver("n")
    head.live(A)
    head.live(B, detached=True)
    head.tell(t.OwnerLost("driver", "the driver exited"))
    assert head.record(A).cause == t.DeathCause("owner_died", "the driver exited")
    assert head.state(B) == "ALIVE"
    head.tell(t.HandlesGone(B))
    assert head.state(B) == "ALIVE"


def test_out_of_scope_an_actor_ends_after_its_queued_calls():
    head = HeadDriver("n")
    head.live(max_restarts=5)
    assert head.tell(t.HandlesGone(A)) == [t.TerminateActor("n", "w", A, 0)]
    assert head.tell(t.HandlesGone(A)) == []
    assert head.state() == "ALIVE"
    head.tell(t.ActorExited(A, 0, t.DeathCause("exited", "")))
    assert head.record().cause.kind == "out_of_scope"


def test_out_of_scope_before_it_lives_it_starts_only_for_calls_that_wait():
    head = HeadDriver("n")
    head.register(A)
    head.register(B)
    head.tell(t.HandlesGone(A))
    head.tell(t.HandlesGone(B, calls_pending=True))
    assert (head.state(A), head.state(B)) == ("DEAD", "PENDING_CREATION")
    head.grant(B)
    assert of(t.TerminateActor, head.tell(t.ActorCreated(B, 0, ADDRESS)))


def test_an_actor_that_is_to_end_is_not_restarted():
    head = HeadDriver("n")
    head.live(max_restarts=-1)
    head.tell(t.HandlesGone(A))
    head.lose_worker()
    assert head.state() == "DEAD"


def test_an_actor_waits_for_its_arguments():
    head = HeadDriver("n")
    assert not sent(RequestWorker, head.register(ready=False))
    assert head.state() == "DEPENDENCIES_UNREADY"
    assert sent(RequestWorker, head.tell(t.DependenciesReady(A)))
    assert not head.tell(t.DependenciesReady(A))


def test_without_room_an_actor_waits_then_queues_at_a_node():
    head = HeadDriver("n", cpus=0)
    assert not sent(RequestWorker, head.register())
    assert head.directory.wake_at() is not None
    head.node("m", 1)
    assert sent(RequestWorker, head.tell(t.PlaceActors()))
    head.register(B)
    head.now = 2.0
    assert sent(RequestWorker, head.tell(t.PlaceActors())), "fairness at the node brings its turn"
    assert head.directory.wake_at() is None


def test_a_refused_request_is_tried_again_and_a_late_grant_released():
    head = HeadDriver("n")
    head.register()
    first = head.record().request_id
    head.tell(t.FromNode("n", WorkerRefused(first, "no room")))
    (request,) = sent(RequestWorker, head.tell(t.PlaceActors()))
    assert request.request_id != first
    assert sent(ReleaseWorker, head.tell(t.FromNode("n", WorkerGranted(first, 1, "w", {})))) == [ReleaseWorker(first)]


def test_an_environment_that_cannot_be_made_is_the_cause():
    head = HeadDriver("n")
    head.register()
    head.tell(t.FromNode("n", WorkerRefused(head.record().request_id, "no such package", permanent=True)))
    assert head.record().cause == t.DeathCause("environment_failed", "no such package")


def test_what_no_node_can_hold_waits_with_the_reason_and_hopeless_affinity_dies():
    head = HeadDriver("n")
    head.register(lease=spec(CPU=64))
    assert "the most that any node has: CPU 4" in head.record().problem
    head.register(B, lease=spec(NodeAffinity("gone")))
    assert head.record(B).cause.kind == "unschedulable"


def test_placing_may_need_more_than_living_and_actors_that_hold_nothing_are_spread():
    head = HeadDriver("n", "m")
    one = ResourceSet.parse({"CPU": 1})
    nodes = set()
    for index in range(4):
        (command,) = of(t.ToLeaseMachine, head.register(bytes([index]) * 16, lease=LeaseSpec(EMPTY), placement=one))
        assert command.event.spec.resources == EMPTY
        nodes.add(command.node_id)
    assert nodes == {"n", "m"}


def test_two_actors_are_not_sent_to_the_same_free_cpu():
    head = HeadDriver("n", cpus=1)
    assert sent(RequestWorker, head.register(A))
    assert not sent(RequestWorker, head.register(B))


def test_a_node_that_comes_back_says_which_workers_it_has():
    head = HeadDriver("n")
    lost = head.live(A)
    kept = head.live(B)
    said = head.tell(t.FromNode("n", WorkersHeld((kept, "unknown"))))
    assert sent(ReleaseWorker, said) == [ReleaseWorker("unknown"), ReleaseWorker(lost)]
    assert (head.state(A), head.state(B)) == ("DEAD", "ALIVE")


def test_a_request_to_kill_that_is_said_again_does_not_kill_the_next_incarnation():
    head = HeadDriver("n")
    head.live(A, max_restarts=-1)
    kill = t.KillActor(A, no_restart=False, request=b"1")
    head.tell(kill)
    head.grant(A)
    head.tell(t.ActorCreated(A, 1, ADDRESS))
    again = HeadDriver("n")
    again.directory.restore(msgspec.convert(msgspec.to_builtins(head.directory.table), t.ActorTable), 0.0)
    again.tell(kill)
    assert (again.state(A), again.record(A).incarnation) == ("ALIVE", 1)
    again.tell(t.KillActor(A, no_restart=False, request=b"2"))
    assert (again.state(A), again.record(A).incarnation) == ("RESTARTING", 2)


def test_a_request_to_kill_that_came_while_the_actor_was_started_again_is_not_meant_for_later():
    head = HeadDriver("n")
    head.live(A, max_restarts=-1)
    head.lose_worker(A)
    kill = t.KillActor(A, no_restart=False, request=b"1")
    head.tell(kill)
    head.grant(A)
    head.tell(t.ActorCreated(A, 1, ADDRESS))
    head.tell(kill)
    assert head.state(A) == "ALIVE"


def test_a_detached_actor_does_not_wait_for_ever_for_arguments_that_a_dead_process_was_to_make():
    head = HeadDriver("n")
    head.register(A, detached=True, ready=False)
    head.register(B, detached=True)
    head.tell(t.OwnerLost("driver", "the process that created it is gone"))
    assert (head.state(A), head.record(A).cause.kind) == ("DEAD", "owner_died")
    assert head.state(B) == "PENDING_CREATION"


def test_a_restarted_head_goes_on_from_its_table():
    head = HeadDriver("n")
    head.live(A, name="x")
    head.register(B)
    head.register(b"c" * 16)
    head.grant(b"c" * 16)
    stored = msgspec.msgpack.encode(head.directory.table)
    again = HeadDriver("n")
    said = again.directory.restore(msgspec.msgpack.decode(stored, type=t.ActorTable), 0.0)
    assert sent(RequestWorker, said)[0].request_id == head.record(B).request_id
    assert of(t.CreateActor, said)[0].actor_id == b"c" * 16
    assert again.directory.named("x", "").actor_id == A
    again.grant(B)
    again.tell(t.ActorCreated(B, 0, ADDRESS))
    again.lose_worker(A)
    assert (again.state(A), again.state(B)) == ("DEAD", "ALIVE")


# Nodes that are drained


def drain(head, node_id="n0"):
    head.scheduler.handle(NodeLeaving(node_id), head.now)
    return head.tell(t.DrainActors(node_id, "its node is drained"))


def test_an_actor_restarts_elsewhere_when_its_node_is_drained_and_it_does_not_count():
    head = HeadDriver("n0")
    request = head.live(max_restarts=1)
    head.node("n1", 4)
    said = drain(head)
    assert t.ToLeaseMachine("n0", ReleaseWorker(request)) in of(t.ToLeaseMachine, said)
    assert (head.state(), head.record().node_id, head.record().incarnation) == ("RESTARTING", "n1", 1)
    head.grant(worker="w2")
    head.tell(t.ActorCreated(A, 1, ADDRESS))
    head.lose_worker()
    assert head.state() == "RESTARTING", "this is the one restart that it has"
    head.grant(worker="w3")
    head.tell(t.ActorCreated(A, 2, ADDRESS))
    head.lose_worker()
    assert head.state() == "DEAD"


def test_an_actor_goes_on_where_it_is_until_there_is_room_elsewhere():
    head = HeadDriver("n0")
    head.live(max_restarts=-1)
    assert not drain(head)
    assert head.state() == "ALIVE"
    head.now = head.directory.wake_at()
    assert not head.tell(t.PlaceActors())
    head.node("n1", 4)
    head.now = head.directory.wake_at()
    head.tell(t.PlaceActors())
    assert (head.state(), head.record().node_id) == ("RESTARTING", "n1")


def test_an_actor_that_may_not_restart_stays_until_its_node_ends():
    head = HeadDriver("n0", "n1")
    head.register(lease=LeaseSpec(ResourceSet.parse({"CPU": 1}), NodeAffinity("n0", soft=True)))
    head.grant()
    head.tell(t.ActorCreated(A, 0, ADDRESS))
    assert not drain(head)
    head.tell(t.ActorNodeLost("n0", "its node was drained"))
    assert head.state() == "DEAD"
    assert head.record().cause == t.DeathCause("node_died", "its node was drained")


def test_an_actor_that_comes_up_on_a_node_that_is_drained_moves_at_once():
    head = HeadDriver("n0")
    head.register(max_restarts=3)
    head.node("n1", 4)
    head.tell(t.DrainActors("n0", "its node is drained"))
    head.scheduler.handle(NodeLeaving("n0"), head.now)
    head.grant()
    head.tell(t.ActorCreated(A, 0, ADDRESS))
    assert (head.state(), head.record().node_id) == ("RESTARTING", "n1")


def test_nothing_is_placed_on_a_node_that_is_to_be_drained_before_it_says_so_itself():
    head = HeadDriver("n0", "n1")
    head.scheduler.handle(NodeLeaving("n0"), head.now)
    head.node("n0", 4)  # a report that was on its way
    for i in range(4):
        actor_id = bytes([i]) * 16
        head.register(actor_id)
        assert head.record(actor_id).node_id == "n1"
