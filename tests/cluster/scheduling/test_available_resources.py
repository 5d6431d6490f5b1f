"""What users see of free resources: never below zero or above what there is, and the books' sums when all is calm."""

from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from limelight.cluster.scheduling import actor_table as t
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.actor_directory import ActorDirectory
from limelight.cluster.scheduling.cluster_view import ClusterView, GroupStanding
from limelight.cluster.scheduling.scheduler import Scheduler, SchedulerTick
from limelight.cluster.scheduling.strategy import InBundle, NodeAffinity

from .node_driver import NodeDriver, of, spec

CALLER = "caller"
GROUP = b"g"
SPECS = {
    b"one": spec(),
    b"half": spec(CPU=0.5),
    b"two": spec(CPU=2),
    b"bundle": spec(InBundle(GROUP)),
    b"here": spec(NodeAffinity("here")),
}
ACTORS = [bytes([n]) * 16 for n in range(4)]
UNIT = 10_000


class OneNode:
    """A node, and a head that places actors there; messages arrive at once, except where the test holds them."""

    def __init__(self, cpus):
        self.node = NodeDriver({"CPU": cpus})
        self.scheduler = Scheduler(ClusterView(Random(0)))
        self.scheduler.view.groups[GROUP] = GroupStanding()
        self.directory = ActorDirectory(self.scheduler)
        self.sequences: dict[int, int] = {}
        self.heard = 0
        self.wait(0.2)

    def to_node(self, event):
        self.node.tell(event)
        self.deliver()

    def to_directory(self, event):
        self.carry_out(self.directory.handle(event, self.node.now))

    def carry_out(self, commands):
        for command in of(t.ToLeaseMachine, commands):
            self.node.tell(command.event)
        self.deliver()

    def deliver(self):
        """What the node has said reaches the head."""
        while self.heard < len(self.node.said):
            said = self.node.said[self.heard]
            self.heard += 1
            if isinstance(said, m.NodeReport):
                for told in self.scheduler.handle(said, self.node.now):
                    self.node.tell(told.event)
            elif isinstance(said, m.WorkerGranted | m.WorkerRefused | m.RequestedWorkerLost):
                self.carry_out(self.directory.handle(t.FromNode("here", said), self.node.now))

    def block(self, lease_id, blocked=True):
        self.sequences[lease_id] = self.sequences.get(lease_id, 0) + 1
        self.to_node((m.WorkerBlocked if blocked else m.WorkerUnblocked)(lease_id, self.sequences[lease_id]))

    def wait(self, seconds):
        end = self.node.now + seconds
        while self.node.now < end:
            self.node.now += 0.05
            self.to_node(m.Tick())
            for told in self.scheduler.handle(SchedulerTick(), self.node.now):
                self.to_node(told.event)
            self.to_directory(t.PlaceActors())

    def actor(self, actor_id=ACTORS[0], lease=None):
        actor = t.ActorSpec(actor_id, "A", CALLER, lease or spec(), max_restarts=-1)
        self.to_directory(t.RegisterActor(actor))

    def shown(self):
        """CPUs that the user is told are free."""
        return self.scheduler.view.nodes["here"].unused()["CPU"] / UNIT

    def booked(self):
        return self.node.available()


def test_an_actor_that_queues_at_a_full_node_takes_nothing():
    one = OneNode(1)
    one.actor(ACTORS[0])
    assert one.shown() == 0
    one.actor(ACTORS[1])
    for _ in range(100):
        one.wait(0.05)
        assert one.scheduler.view.nodes["here"].available["CPU"] == 0, "what nobody has is not taken"
        assert one.shown() == 0


def test_an_actor_in_a_bundle_takes_of_the_bundle_and_not_once_more_of_the_node():
    one = OneNode(2)
    one.to_node(m.ReservePrepare(GROUP, 1, {0: spec().resources, 1: spec().resources}))
    one.to_node(m.ReserveCommit(GROUP, 1))
    one.wait(0.2)
    actor = t.ActorSpec(ACTORS[0], "A", CALLER, SPECS[b"bundle"])
    one.directory.handle(t.RegisterActor(actor), one.node.now)  # its request is on its way
    assert one.scheduler.view.nodes["here"].available["CPU"] == 0
    bundles = one.scheduler.view.bundles[GROUP].values()
    assert sorted(bundle.available["CPU"] for _, bundle in bundles) == [0, UNIT]


def test_workers_that_wait_lend_their_cpu_and_oversubscribe_it_when_they_run_again():
    one = OneNode(1)
    one.node.demand(2, CALLER)
    (first,) = one.node.held(CALLER)
    one.block(first)
    second = next(lease for lease in one.node.held(CALLER) if lease != first)
    one.block(first, blocked=False)
    one.wait(0.2)
    assert one.booked() == -1, "the scheduler goes by this: no more may start before two have ended"
    assert one.shown() == 0
    one.node.demand(0, CALLER)
    for lease_id in (first, second):
        one.to_node(m.LeaseReturned(lease_id))
    one.wait(0.2)
    assert one.shown() == 1


class Availability(RuleBasedStateMachine):
    """Tasks, actors and bundles that come, wait, run again and go, in any order, on a node of two CPUs."""

    def __init__(self):
        super().__init__()
        self.one = OneNode(2)
        self.attempt = 0

    @rule(key=st.sampled_from(sorted(SPECS)), wanted=st.integers(0, 4))
    def declare(self, key, wanted):
        self.one.node.demand(wanted, CALLER, key, spec=SPECS[key])
        self.one.deliver()

    @precondition(lambda self: self.one.node.held(CALLER))
    @rule(data=st.data())
    def a_lease_comes_back(self, data):
        lease_id = data.draw(st.sampled_from(self.one.node.held(CALLER)))
        self.one.to_node(m.LeaseReturned(lease_id))

    @precondition(lambda self: self.one.node.granted)
    @rule(data=st.data(), blocked=st.booleans())
    def a_worker_waits_or_runs_again(self, data, blocked):
        self.one.block(data.draw(st.sampled_from(sorted(self.one.node.granted))), blocked)

    @rule(actor_id=st.sampled_from(ACTORS), key=st.sampled_from(sorted(SPECS)))
    def an_actor_is_created(self, actor_id, key):
        self.one.actor(actor_id, SPECS[key])

    @rule(actor_id=st.sampled_from(ACTORS), no_restart=st.booleans())
    def an_actor_is_killed(self, actor_id, no_restart):
        self.one.to_directory(t.KillActor(actor_id, no_restart))

    @rule()
    def bundles_come(self):
        self.attempt += 1
        bundles = dict.fromkeys(range(2), spec(CPU=0.5).resources)
        self.one.to_node(m.ReservePrepare(GROUP, self.attempt, bundles))
        self.one.to_node(m.ReserveCommit(GROUP, self.attempt))

    @rule()
    def bundles_go(self):
        self.one.to_node(m.ReserveCancel(GROUP, self.attempt))

    @rule(seconds=st.sampled_from([0.05, 0.5, 2.0]))
    def time_passes(self, seconds):
        self.one.wait(seconds)

    @invariant()
    def nothing_shown_is_below_zero_or_above_the_total(self):
        assert 0 <= self.one.shown() <= 2

    @invariant()
    def what_lasts_is_what_actors_and_bundles_hold(self):
        machine = self.one.node.machine
        ledgers = [machine.ledger, *machine.bundles.ledgers(InBundle(GROUP))]
        for ledger in ledgers:
            held = sum(
                lease.allocation.resources.get("CPU")
                for lease in machine.book.leases()
                if lease.ledger is ledger and lease.demand.request_id is not None and not lease.blocked
            )
            if ledger is machine.ledger:
                held += sum(bundle.total.get("CPU") for bundle in machine.bundles.reports())
            assert ledger.lasting["CPU"] == held

    def teardown(self):
        """When all have gone, everything is free."""
        for key, wanted in SPECS.items():
            self.one.node.demand(0, CALLER, key, spec=wanted)
        for lease_id in self.one.node.held(CALLER):
            self.one.to_node(m.LeaseReturned(lease_id))
        for actor_id in ACTORS:
            self.one.to_directory(t.KillActor(actor_id))
        self.one.to_node(m.ReserveCancel(GROUP, self.attempt))
        self.one.wait(0.5)
        assert self.one.shown() == self.one.booked() == 2


Availability.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_availability = Availability.TestCase
