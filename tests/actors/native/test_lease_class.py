"""How tasks of one class are spread over leases: each ends once, none waits without need, nothing is held too long."""

import itertools
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.actors.contract import LeaseSpec, Template
from limelight.actors.native.burst import PATIENCE_S, OnTheWay
from limelight.actors.native.lease import Lease
from limelight.actors.native.lease_class import IDLE_S, STUCK_S, LeaseClass
from limelight.actors.native.task_choice import MOST_PASSED_OVER
from limelight.actors.native.task_record import TaskRecord, TaskTemplate
from limelight.actors.native.worker_link import Push

TICK = 0.005
ROUND_TRIP = 0.0004
TEMPLATE = TaskTemplate(Template(1, "task", "f", b"", b"", 1, {}), 1, 3)
SPEC = LeaseSpec({}, {}, {}, "", b"")


class Worker:
    """Runs what it is sent, in order."""

    def __init__(self, world, lease):
        self.world, self.lease = world, lease
        self.queue = []
        self.running = None
        self.dead = False

    def receive(self, task):
        if not self.dead:
            self.queue.append(task)
            self.next()

    def next(self):
        if self.running is None and self.queue and not self.dead:
            self.running = task = self.queue.pop(0)
            self.world.started.setdefault(task.task_id, []).append(self.world.now)
            if self.world.poison(task):
                self.world.after(0.0001, self.die)
            else:
                seconds = self.world.seconds[task.task_id]
                self.world.after(seconds, lambda: self.end(task, seconds))

    def end(self, task, seconds):
        if not self.dead:
            self.running = None
            self.world.after(ROUND_TRIP, lambda: self.world.ended(self.lease, task, seconds))
            self.next()

    def give_back(self, tasks):
        for task in reversed(tasks):
            if task in self.queue and not self.dead:
                self.queue.remove(task)
                self.world.after(ROUND_TRIP, lambda task=task: self.world.returned(self.lease, task))
        self.world.after(ROUND_TRIP, lambda: setattr(self.lease, "recalling", False))

    def die(self):
        self.dead = True
        self.world.after(ROUND_TRIP, lambda: self.world.lost(self.lease))


class World:
    """A caller with one class, a node with so many workers, and a clock. It is the class's `LeasePort`."""

    def __init__(self, workers, random):
        self.random = random
        self.now = 0.0
        self.events = []
        self.order = itertools.count()
        self.workers = workers
        self.granted = {}
        self.wanted = 0
        self.demands = 0
        self.seconds, self.started, self.outcomes = {}, {}, {}
        self.poisonous = set()
        self.full = 0.0
        self.ids = itertools.count(1)
        self.near, self.places, self.ran_at = {}, {}, {}
        self.waits = 0.0
        self.lease_class = LeaseClass(1, SPEC, self)

    def after(self, delay, action):
        self.events.append((self.now + delay, next(self.order), action))

    def run(self, until=None):
        while self.events:
            self.events.sort()
            when, _, action = self.events[0]
            if until is not None and when > until:
                return
            self.events.pop(0)
            self.now = max(self.now, when)
            action()
            self.check()
            assert self.demands < 100_000
        return

    def check(self):
        """No task waits while a lease that may be used has nothing to do."""
        if self.lease_class.queue and not self.full and not self.lease_class.choice.holding:
            idle = [lease for lease in self.lease_class.leases.values() if not lease.in_flight and not lease.reclaimed]
            assert not idle, "a task waits while a worker has nothing to do"
        self.check_books()

    def check_books(self):
        """What is counted as things happen is what counting anew finds."""
        kept = self.lease_class
        leases = kept.leases.values()
        assert kept._in_flight == sum(len(lease.in_flight) for lease in leases)
        assert kept._in_flight_stuck == sum(len(lease.in_flight) for lease in leases if lease.stuck)
        assert kept._stuck == sum(lease.stuck for lease in leases)
        assert set(kept._crowded) == {lease.lease_id for lease in leases if lease.stuck and len(lease.in_flight) > 1}
        working = [lease for lease in leases if lease.in_flight and not lease.stuck]
        assert set(kept._working) == {lease.lease_id for lease in working}
        for lease in leases:
            load = -1 if lease.reclaimed or lease.stuck else len(lease.in_flight)
            assert lease.load == load or (lease in kept._lighter and lease.load > load)
        assert set(kept._idle) == {lease.lease_id for lease in leases if not lease.in_flight and not lease.reclaimed}
        empty = {lease.lease_id for lease in leases if lease.reclaimed and not lease.in_flight}
        assert {lease.lease_id for lease in kept._unused} >= empty
        assert sum(kept.held.values()) == len(leases)

    def submit(self, *seconds):
        for each in seconds:
            task = TaskRecord(next(self.ids).to_bytes(4, "big"), TEMPLATE, b"", None, None)
            self.seconds[task.task_id] = each
            self.near[task.task_id] = self.random.randrange(4)
            self.lease_class.submit(task)
        self.lease_class.dispatch(self.now)

    def submit_near(self, *nodes, seconds=0.02):
        """Tasks whose arguments lie on these nodes; workers are on the nodes 0, 1, ... in turn."""
        for node in nodes:
            task = TaskRecord(next(self.ids).to_bytes(4, "big"), TEMPLATE, b"", None, None)
            self.seconds[task.task_id], self.near[task.task_id] = seconds, node
            self.lease_class.submit(task)
        self.lease_class.dispatch(self.now)

    def poison(self, task):
        return task.task_id in self.poisonous

    # outcomes

    def ended(self, lease, task, seconds):
        self.outcomes.setdefault(task.task_id, []).append("ok")
        self.lease_class.answered(lease, task, seconds, self.now)
        self.lease_class.dispatch(self.now)

    def returned(self, lease, task):
        self.lease_class.returned(lease, task)
        self.lease_class.dispatch(self.now)

    def lost(self, lease):
        tasks = self.lease_class.lost(lease.lease_id, self.now)
        for task in tasks:
            if len(tasks) == 1:
                task.attempt += 1
            if task.attempt > TEMPLATE.max_retries:
                self.outcomes.setdefault(task.task_id, []).append("crashed")
            else:
                self.lease_class.submit(task)
        self.lease_class.dispatch(self.now)

    # the port

    def push(self, lease, task):
        if self.full:
            return Push.LATER
        worker = self.granted[lease.lease_id]
        self.ran_at[task.task_id] = self.places[lease.lease_id]
        self.after(ROUND_TRIP, lambda: worker.receive(task))
        return Push.SENT

    def coming(self, lease_class):
        return OnTheWay({}, "node", max(0, lease_class.declared - len(lease_class.leases)), 3)

    def is_near(self, lease, task):
        return self.near.get(task.task_id) == self.places[lease.lease_id]

    def is_home(self, lease):
        return self.places[lease.lease_id] == 0

    def patience(self, lease, task):
        return self.waits if task.task_id in self.near and not self.is_near(lease, task) else 0.0

    def recall(self, lease, tasks):
        worker = self.granted[lease.lease_id]
        self.after(ROUND_TRIP, lambda: worker.give_back(tasks))

    def demand(self, lease_class, wanted):
        self.demands += 1
        self.after(ROUND_TRIP, lambda: self.grant(wanted))

    def grant(self, wanted):
        self.wanted = wanted
        while len(self.granted) < min(wanted, self.workers):
            lease = Lease(str(next(self.ids)), "node", None, self.now)
            taken = {self.places[lease_id] for lease_id in self.granted}
            self.places[lease.lease_id] = next(node for node in itertools.count() if node not in taken)
            self.granted[lease.lease_id] = Worker(self, lease)
            self.after(ROUND_TRIP, lambda lease=lease: self.take(lease))

    def take(self, lease):
        lease.progressed = self.now
        self.lease_class.granted(lease, self.now)

    def give_back(self, lease, worker_ok):
        del self.granted[lease.lease_id]
        self.after(ROUND_TRIP, lambda: self.grant(self.wanted))

    def wake_at(self, lease_class, when):
        self.after(when - self.now, lambda: lease_class.tick(self.now, when))


@pytest.fixture
def world():
    return World(4, Random(0))


def finish(world):
    world.run()
    assert all(len(outcomes) == 1 for outcomes in world.outcomes.values()), "a task ended twice"
    assert len(world.outcomes) == len(world.seconds), "a task never ended"
    assert not world.granted, "a lease was kept"
    assert world.lease_class.declared == world.wanted == 0


SECONDS = st.sampled_from([0.00001, 0.0001, 0.0005, 0.002, 0.05, 1.0])


@settings(max_examples=150, deadline=None)
@given(
    bursts=st.lists(st.tuples(st.lists(SECONDS, min_size=1, max_size=40), st.floats(0, 0.3)), max_size=5),
    workers=st.integers(1, 5),
    poisonous=st.sets(st.integers(0, 60), max_size=3),
    reclaims=st.lists(st.floats(0, 1.0), max_size=4),
    scattered=st.booleans(),
    spread=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_task_ends_once_and_nothing_is_kept(bursts, workers, poisonous, reclaims, scattered, spread, seed):
    world = World(workers, Random(seed))
    if spread:
        world.lease_class.spread()
    world.lease_class.scattered = scattered
    when = 0.0
    for seconds, pause in bursts:
        world.after(when, lambda seconds=seconds: world.submit(*seconds))
        when += pause
    world.poisonous = {number.to_bytes(4, "big") for number in poisonous}

    def reclaim():
        if world.lease_class.leases:
            world.lease_class.reclaim(world.random.choice(list(world.lease_class.leases)), world.now)

    for at in reclaims:
        world.after(at, reclaim)
    finish(world)
    for task_id, outcomes in world.outcomes.items():
        assert outcomes == (["crashed"] if task_id in world.poisonous else ["ok"]), "a task paid for another's crash"


def test_long_tasks_run_side_by_side(world):
    world.submit(*[1.0] * 8)
    finish(world)
    assert world.now < 2.0 + IDLE_S + 0.1


def test_what_waits_behind_a_long_task_moves_on(world):
    world.submit(*[0.0001] * 400)  # the class has shown itself short
    world.run(until=0.03)
    world.submit(0.0001, 2.0, *[0.0001] * 200)
    begun = world.now
    finish(world)
    starts = [times[-1] for task_id, times in world.started.items() if world.seconds[task_id] < 1]
    assert max(starts) < begun + 2 * STUCK_S + 3 * TICK


def test_a_task_that_comes_while_a_long_one_runs_gets_a_worker_of_its_own(world):
    world.submit(*[0.0001] * 400)
    world.run(until=0.03)
    world.submit(2.0)
    world.run(until=0.2)
    begun = world.now
    world.submit(0.0001)
    finish(world)
    assert list(world.started.values())[-1][0] < begun + STUCK_S + TICK


def test_two_long_tasks_queued_at_one_worker_do_not_wait_for_each_other(world):
    world.submit(*[0.0001] * 400)
    world.run(until=0.03)
    begun = world.now
    world.submit(*[1.5] * 4)
    finish(world)
    long = [times[-1] for task_id, times in world.started.items() if world.seconds[task_id] > 1]
    assert max(long) < begun + STUCK_S + 3 * TICK


def test_a_burst_of_no_ops_is_pipelined(world):
    world.submit(*[0.00001] * 20_000)
    before = world.demands
    finish(world)
    assert world.now < 1.0 + IDLE_S
    assert world.demands - before < 200, "demand is told in steps, not task by task"


def test_a_worker_that_takes_nothing_is_looked_at_again(world):
    world.full = 1.0
    world.submit(*[0.001] * 20)
    world.run(until=0.1)
    assert not world.started
    world.full = 0.0
    finish(world)


def test_a_lease_that_ends_idle_costs_no_task_a_retry(world):
    world.submit(0.001)
    world.run(until=0.05)
    (lease,) = world.lease_class.leases.values()
    world.lease_class.lost(lease.lease_id, world.now)
    world.submit(0.001)
    finish(world)


def test_timers_do_not_pile_up(world):
    for _ in range(300):
        world.submit(*[0.0001] * 30)
        world.run(until=world.now + 0.01)
    assert len(world.events) < 150, "each burst left a timer behind that never ends"


def test_a_refused_class_declares_what_is_left_anew():
    declared = []
    port = SimpleNamespace(demand=lambda _, wanted: declared.append(wanted), wake_at=lambda *_: None)
    lease_class = LeaseClass(1, SPEC, port)
    tasks = [TaskRecord(bytes([i]), TEMPLATE, b"", None, None) for i in range(2)]
    lease_class.submit(tasks[0])
    lease_class.dispatch(0.0)
    assert lease_class.refused() == tasks[:1]
    lease_class.submit(tasks[1])
    lease_class.dispatch(0.0)
    assert declared == [1, 1]  # the node manager has dropped the first one


def test_tasks_go_to_the_workers_that_are_near_their_arguments(world):
    world.lease_class.scattered = world.lease_class.choice.matters = True
    nodes = [node for _ in range(25) for node in range(4)]
    world.random.shuffle(nodes)
    world.submit_near(*nodes)
    finish(world)
    hits = sum(world.ran_at[task_id] == node for task_id, node in world.near.items())
    assert hits > 0.85 * len(nodes), "all but those at the end, when it is better that nobody is idle"


def test_a_task_that_is_near_nobody_is_not_passed_over_for_ever():
    world = World(1, Random(0))
    world.lease_class.scattered = world.lease_class.choice.matters = True
    world.submit_near("elsewhere", *[0] * 300)
    finish(world)
    order = sorted(world.started, key=lambda task_id: world.started[task_id])
    assert 10 < order.index(next(iter(world.near))) <= MOST_PASSED_OVER


def test_each_of_a_burst_of_short_tasks_is_asked_a_place_for_where_they_are_spread(world):
    world.lease_class.spread()
    world.submit(0.00001)
    world.run(until=0.1)
    world.submit(*[0.00001] * 8)
    assert world.lease_class.declared == 8, "though one worker would have done them all in no time"
    finish(world)


def test_what_is_kept_for_leases_that_do_not_come_is_kept_for_a_moment_only():
    world = World(1, Random(0))
    world.lease_class.spread()
    world.lease_class.scattered = True
    world.submit(*[0.00001] * 9)
    world.run(until=0.02)
    assert len(world.started) == 3, "the part of one node, of three"
    finish(world)
    starts = [when for times in world.started.values() for when in times]
    assert max(starts) < PATIENCE_S + 0.02


def test_where_all_workers_are_on_one_node_tasks_go_in_order():
    world = World(1, Random(0))
    world.submit_near("elsewhere", *[0] * 20)
    finish(world)
    assert sorted(world.started, key=lambda task_id: world.started[task_id]) == list(world.near)
