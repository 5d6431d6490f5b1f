"""Whatever happens in whatever order, the directory of actors keeps its promises."""

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from limelight.cluster.scheduling import actor_table as t
from limelight.cluster.scheduling.lease_message import (
    ReleaseWorker,
    RequestedWorkerLost,
    RequestWorker,
    WorkerGranted,
    WorkerRefused,
)
from limelight.cluster.scheduling.scheduler import NodeLeaving, NodeLost

from .test_actor_directory import ADDRESS, HeadDriver

IDS = [bytes([n]) * 16 for n in range(4)]
OWNERS = ["p", "q"]
NAMES = ["", "x", "y"]


class ActorDirectoryRules(RuleBasedStateMachine):
    """Nodes answer requests or die, processes come and go; messages also come twice and late."""

    def __init__(self):
        super().__init__()
        self.head = HeadDriver("n0", "n1")
        self.nodes = {"n0", "n1"}
        self.requests: dict[str, str] = {}
        self.workers: dict[str, str] = {}
        self.heard: dict[bytes, list[t.ActorView]] = {}
        self.past: list[t.ActorEvent] = []

    def tell(self, event):
        self.past.append(event)
        self.carry_out(self.head.tell(event))

    def carry_out(self, commands):
        for command in commands:
            match command:
                case t.ToLeaseMachine(node_id=node_id, event=RequestWorker(request_id=request_id)):
                    if node_id in self.nodes:
                        self.requests[request_id] = node_id
                case t.ToLeaseMachine(event=ReleaseWorker(request_id=request_id)):
                    self.requests.pop(request_id, None)
                    self.workers.pop(request_id, None)
                case t.ActorChanged(view=view):
                    self.heard.setdefault(view.actor_id, []).append(view)

    @rule(
        actor_id=st.sampled_from(IDS),
        owner=st.sampled_from(OWNERS),
        name=st.sampled_from(NAMES),
        detached=st.booleans(),
        restarts=st.sampled_from([0, 1, -1]),
        exists=st.booleans(),
    )
    def register(self, actor_id, owner, name, detached, restarts, exists):
        known = actor_id in self.head.directory.table.actors
        self.carry_out(
            self.head.register(actor_id, exists, owner=owner, name=name, detached=detached, max_restarts=restarts)
        )
        if not known and actor_id in self.head.directory.table.actors:
            self.tell(t.Subscribe("watcher", actor_id))

    @precondition(lambda self: self.requests)
    @rule(data=st.data(), answer=st.sampled_from(["grant", "grant", "grant", "refuse", "never"]))
    def a_node_answers(self, data, answer):
        request_id = data.draw(st.sampled_from(sorted(self.requests)))
        node_id = self.requests.pop(request_id)
        if answer == "grant":
            self.workers[request_id] = node_id
            self.tell(t.FromNode(node_id, WorkerGranted(request_id, 1, f"worker of {request_id}", {})))
        else:
            self.tell(t.FromNode(node_id, WorkerRefused(request_id, "no", permanent=answer == "never")))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), what=st.sampled_from(["created", "created", "failed", "exited", "lost"]))
    def a_worker_speaks(self, data, what):
        request_id = data.draw(st.sampled_from(sorted(self.workers)))
        record = next((r for r in self.head.directory.table.actors.values() if r.request_id == request_id), None)
        if record is None:
            return
        actor_id, incarnation = record.spec.actor_id, record.incarnation
        match what:
            case "created":
                self.tell(t.ActorCreated(actor_id, incarnation, ADDRESS))
            case "failed":
                self.tell(t.ActorCreationFailed(actor_id, incarnation, t.DeathCause("constructor_failed", "boom")))
            case "exited":
                self.tell(t.ActorExited(actor_id, incarnation, t.DeathCause("exited", "bye")))
            case _:
                node_id = self.workers.pop(request_id)
                self.tell(t.FromNode(node_id, RequestedWorkerLost(request_id, record.worker_id, "signal 9")))

    @rule(actor_id=st.sampled_from(IDS), no_restart=st.booleans())
    def kill(self, actor_id, no_restart):
        self.tell(t.KillActor(actor_id, no_restart))

    @rule(actor_id=st.sampled_from(IDS), pending=st.booleans())
    def handles_go(self, actor_id, pending):
        self.tell(t.HandlesGone(actor_id, pending))

    @rule(owner=st.sampled_from(OWNERS))
    def an_owner_is_lost(self, owner):
        self.tell(t.OwnerLost(owner, "gone"))
        for record in self.head.directory.table.actors.values():
            assert record.spec.owner != owner or record.spec.detached or record.state == "DEAD"

    @rule(node_id=st.sampled_from(["n0", "n1"]))
    def a_node_is_drained(self, node_id):
        self.head.scheduler.handle(NodeLeaving(node_id), self.head.now)
        self.tell(t.DrainActors(node_id, "drained"))

    @rule(node_id=st.sampled_from(["n0", "n1"]))
    def a_node_is_lost_and_another_comes(self, node_id):
        self.nodes.discard(node_id)
        self.requests = {request: node for request, node in self.requests.items() if node != node_id}
        self.workers = {request: node for request, node in self.workers.items() if node != node_id}
        self.head.scheduler.handle(NodeLost(node_id), self.head.now)
        self.tell(t.ActorNodeLost(node_id, "gone"))
        self.head.versions[node_id] = 0
        self.nodes.add(node_id)
        self.head.node(node_id, 4)

    @rule(seconds=st.sampled_from([0.3, 2.0]))
    def time_passes(self, seconds):
        self.head.now += seconds
        self.tell(t.PlaceActors())

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def something_is_said_again(self, data):
        event = data.draw(st.sampled_from(self.past))
        if not isinstance(event, (t.KillActor, t.HandlesGone, t.OwnerLost, t.ActorNodeLost, t.PlaceActors)):
            self.carry_out(self.head.tell(event))

    @rule()
    def the_head_is_restarted(self):
        stored = msgspec.msgpack.encode(self.head.directory.table)
        before = self.head
        self.head = HeadDriver("n0", "n1")
        self.head.now = before.now
        table = msgspec.msgpack.decode(stored, type=t.ActorTable)
        assert table == before.directory.table
        self.carry_out(self.head.directory.restore(table, self.head.now))
        for actor_id in table.actors:
            self.tell(t.Subscribe("watcher", actor_id))

    @invariant()
    def names_belong_to_one_that_is_not_dead(self):
        directory = self.head.directory
        holders = [r for r in directory.table.actors.values() if r.spec.name and r.state != "DEAD"]
        assert len({record.spec.name for record in holders}) == len(holders)
        for record in holders:
            assert directory.named(record.spec.name, "").actor_id == record.spec.actor_id

    @invariant()
    def an_actor_alive_has_a_worker_and_a_dead_one_a_cause(self):
        for record in self.head.directory.table.actors.values():
            if record.state == "ALIVE":
                assert record.request_id in self.workers
                assert record.address is not None
            if record.state == "DEAD":
                assert record.cause is not None
                assert not record.request_id

    @invariant()
    def no_worker_is_forgotten(self):
        wanted = {record.request_id for record in self.head.directory.table.actors.values()}
        assert set(self.workers) <= wanted
        assert set(self.requests) <= wanted

    @invariant()
    def restarts_stay_within_their_limit_and_incarnations_only_grow(self):
        for record in self.head.directory.table.actors.values():
            assert record.spec.max_restarts == -1 or record.incarnation - record.spared <= record.spec.max_restarts
            assert record.spec.max_restarts or not record.incarnation, "a drained node is no reason to restart these"
        for views in self.heard.values():
            incarnations = [view.incarnation for view in views]
            assert incarnations == sorted(incarnations)

    @invariant()
    def the_index_is_what_looking_at_all_finds(self):
        directory = self.head.directory
        living = [record for record in directory.table.actors.values() if record.state != "DEAD"]
        for owner in OWNERS:
            owned = {record.spec.actor_id for record in living if record.spec.owner == owner}
            assert {record.spec.actor_id for record in directory._index.owned_by(owner)} == owned
        for node_id in self.nodes:
            here = {record.request_id for record in living if record.node_id == node_id}
            assert {record.request_id for record in directory._index.at_node(node_id)} == here

    @invariant()
    def subscribers_know_the_present_state(self):
        for actor_id, record in self.head.directory.table.actors.items():
            last = self.heard[actor_id][-1]
            assert (last.state, last.incarnation) == (record.state, record.incarnation)

    def teardown(self):
        """Everything can still come to an end."""
        for actor_id in IDS:
            self.tell(t.KillActor(actor_id))
        assert all(record.state == "DEAD" for record in self.head.directory.table.actors.values())
        assert not self.workers
        assert not self.requests


ActorDirectoryRules.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_actor_directory = ActorDirectoryRules.TestCase
