"""Whatever happens in whatever order, a lease machine's books balance and what it owes is paid."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.resources import CPU, UNIT, ResourceSet
from limelight.cluster.scheduling.strategy import InBundle, Spread

from .node_driver import NodeDriver, of, spec

CALLERS = ["a", "b", "c"]
SPECS = {
    b"cpu": spec(),
    b"half": spec(CPU=0.5),
    b"big": spec(CPU=3),
    b"gpu": spec(GPU=0.5),
    b"two": spec(GPU=2),
    b"spread": spec(Spread()),
    b"env": spec(env_key="env"),
    b"bundle": spec(InBundle(b"g")),
    b"never": spec(CPU=100),
}
BUNDLE = ResourceSet.parse({"CPU": 1})


class LeaseMachineRules(RuleBasedStateMachine):
    """Callers, workers and the head, each free to do what the protocol allows, twice and late."""

    def __init__(self):
        super().__init__()
        self.node = NodeDriver({"CPU": 4, "GPU": 2}, start_workers=False)
        self.sent: list[m.DemandChanged] = []
        self.wanted: dict[tuple[str, bytes], int] = {}
        self.sequence = 0
        self.attempt = 0
        self.blocked_ever = False

    @rule(
        caller=st.sampled_from(CALLERS),
        key=st.sampled_from(sorted(SPECS)),
        wanted=st.integers(0, 6),
        placed=st.booleans(),
    )
    def declare(self, caller, key, wanted, placed):
        event = m.DemandChanged(caller, key, SPECS[key], wanted, len(self.sent), placed)
        self.sent.append(event)
        self.wanted[caller, key] = wanted
        self.node.tell(event)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def declare_late_and_again(self, data):
        event = data.draw(st.sampled_from(self.sent))
        if (event.caller, event.class_key) in self.node.machine.queue.demands:
            before = self.granted_counts()
            self.node.tell(event)
            assert self.granted_counts() == before

    @precondition(lambda self: self.node.starts)
    @rule()
    def worker_starts(self):
        for command in self.node.come_up():
            if isinstance(command, (m.Grant, m.WorkerGranted)):
                self.node.granted[command.lease_id] = command
            elif isinstance(command, m.StopWorker):
                self.node.live.discard(command.worker_id)
            elif isinstance(command, m.StartWorker):
                self.node.starts.append(command)

    @precondition(lambda self: self.node.starts)
    @rule(environment=st.booleans())
    def worker_does_not_start(self, environment):
        start = self.node.starts.pop(0)
        said = self.node.tell(m.WorkerStartFailed(start.start_id, "no", environment))
        for failed in of(m.EnvironmentFailed, said):
            self.wanted[failed.caller, failed.class_key] = 0

    @precondition(lambda self: self.node.granted)
    @rule(data=st.data(), ok=st.booleans())
    def return_a_lease(self, data, ok):
        lease_id = data.draw(st.sampled_from(sorted(self.node.granted)))
        self.node.tell(m.LeaseReturned(lease_id, ok))

    @precondition(lambda self: self.node.live)
    @rule(data=st.data())
    def a_worker_dies(self, data):
        worker_id = data.draw(st.sampled_from(sorted(self.node.live)))
        self.node.live.discard(worker_id)
        self.node.tell(m.WorkerLost(worker_id, "died"))

    @precondition(lambda self: self.node.granted)
    @rule(data=st.data(), blocked=st.booleans(), late=st.booleans())
    def block_or_unblock(self, data, blocked, late):
        self.blocked_ever = True
        self.sequence += not late
        lease_id = data.draw(st.sampled_from(sorted(self.node.granted)))
        kind = m.WorkerBlocked if blocked else m.WorkerUnblocked
        self.node.tell(kind(lease_id, self.sequence))

    @rule(caller=st.sampled_from(CALLERS))
    def a_caller_is_lost(self, caller):
        self.node.tell(m.CallerLost(caller))
        assert not self.node.held(caller)
        self.wanted = {key: count for key, count in self.wanted.items() if key[0] != caller}

    @rule(name=st.sampled_from("xyz"), key=st.sampled_from(sorted(SPECS)), patience=st.sampled_from([0.0, 1.0]))
    def request_a_worker(self, name, key, patience):
        self.node.tell(m.RequestWorker(name, SPECS[key], patience))

    @rule(name=st.sampled_from("xyz"))
    def release_a_worker(self, name):
        self.node.tell(m.ReleaseWorker(name))

    @rule(count=st.integers(1, 3), patience=st.sampled_from([0.0, 1.0]), late=st.booleans())
    def prepare_bundles(self, count, patience, late):
        self.attempt += not late
        self.node.tell(m.ReservePrepare(b"g", self.attempt, dict.fromkeys(range(count), BUNDLE), patience))

    @rule()
    def commit_bundles(self):
        self.node.tell(m.ReserveCommit(b"g", self.attempt))

    @rule()
    def cancel_bundles(self):
        self.node.tell(m.ReserveCancel(b"g", self.attempt))

    @rule(ask_id=st.integers(1, 20), where=st.sampled_from(["here", "there"]), total=st.integers(1, 4))
    def the_scheduler_places(self, ask_id, where, total):
        self.node.tell(m.Place(ask_id, where, total))

    @rule(count=st.integers(0, 1))
    def peers_change(self, count):
        self.node.tell(m.PeersChanged(count))

    @rule(seconds=st.sampled_from([0.01, 0.3, 3.0]))
    def time_passes(self, seconds):
        self.node.wait(seconds, tick=seconds / 3)

    def granted_counts(self):
        return Counter(lease.demand.key for lease in self.node.machine.book.leases())

    @invariant()
    def books_balance(self):
        machine = self.node.machine
        ledgers = [machine.ledger, *machine.bundles.ledgers(InBundle(b"g"))]
        held_by_bundles = Counter()
        for bundle in machine.bundles._groups.get(b"g", {}).values():
            held_by_bundles.update(bundle.allocation.resources.units())
        for ledger in ledgers:
            held = Counter(held_by_bundles) if ledger is machine.ledger else Counter()
            for lease in machine.book.leases():
                if lease.ledger is ledger:
                    units = lease.allocation.resources.units()
                    held.update({kind: n for kind, n in units.items() if not (lease.blocked and kind == CPU)})
            assert ledger.available == {kind: n - held[kind] for kind, n in ledger.total.amounts}
            assert all(0 <= share <= UNIT for shares in ledger.free.values() for share in shares.values())

    @invariant()
    def nothing_is_over_committed(self):
        for kind, left in self.node.machine.ledger.available.items():
            assert left >= 0 or (kind == CPU and self.blocked_ever)

    @invariant()
    def nobody_gets_more_than_wanted_and_redirects_count(self):
        for demand in self.node.machine.queue.demands.values():
            assert demand.unmet <= demand.wanted
            assert bool(demand.ask_id) == bool(demand.unmet)

    @invariant()
    def a_worker_serves_one_lease(self):
        workers = [lease.worker_id for lease in self.node.machine.book.leases() if lease.worker_id]
        assert len(workers) == len(set(workers))
        assert set(workers) <= self.node.live

    def teardown(self):
        """When everybody leaves, nothing is left."""
        for caller in CALLERS:
            self.node.tell(m.CallerLost(caller))
        for name in "xyz":
            self.node.tell(m.ReleaseWorker(name))
        self.node.tell(m.ReserveCancel(b"g", self.attempt))
        machine = self.node.machine
        assert not list(machine.book.leases())
        assert not machine.queue.demands
        assert not len(machine.queue)
        assert machine.ledger.available == machine.ledger.total.units()
        assert len(machine.book.pool) == machine.book.pool.idle_count() == len(self.node.live)


LeaseMachineRules.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_lease_machine = LeaseMachineRules.TestCase
