"""Several processes of a cluster in one, with the network, the threads, the store and the head simulated.

Everything that decides who holds an object is the real thing: hubs, tables, borrowing, submission, leases, execution,
actor clients. What happens next is drawn from a seeded random: a message of some pair arrives, a wire thread takes
something from its inbox, a timer fires, a user's thread runs a job or does something of its own. Now and then a lane or
a process stands still for a while, so that everything else overtakes it.
"""

import itertools
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from random import Random
from unittest.mock import patch

import msgspec

from limelight.actors import ids, runtime
from limelight.actors.contract import (
    CORE,
    EXECUTOR,
    ActorExited,
    ActorUnreferenced,
    Demand,
    KillActor,
    LeaseGranted,
    RegisterActor,
    ReturnLease,
    SetCreation,
    WatchActor,
    WriterLost,
    WrittenCopy,
    encode,
)
from limelight.transport.protocol import Call

from .head import Head
from .network import NODE
from .process import Process
from .store import Store
from .watch import Watch

PATIENCE = 20_000
STALL = 0.03
LONGEST_STALL = 400
HURRY = 0.03


class GaveUpError(Exception):
    """Waiting user code lost patience: what it waits for waits for it, or takes very long."""


class Killed(BaseException):
    """Unwinds user code of a process that has died while it waited."""


class Ids:
    """Ids in the order in which they are made, the same in every run."""

    def __init__(self):
        self._count = itertools.count(1)

    def task_id(self):
        return next(self._count).to_bytes(ids.TASK_ID_SIZE, "big")

    def actor_id(self):
        return next(self._count).to_bytes(ids.ACTOR_ID_SIZE, "big")


class World:
    """The processes, what is on its way between them, and the random that decides.

    Attributes:
        deaths: how many processes have died.
        faults: whether what is in stores may be gone.
        problems: what went wrong where nobody would hear of it.
        gave_up: processes in which calls may run that were given up.
        retries: how many times more than once a task may run.
        to_die, to_lose: how many processes are to die, and how many times bytes are to be lost.
        work: what user code that is idle does, a function of its process.
    """

    def __init__(self, seed, processes, deaths=0, losses=0):
        self.random = Random(seed)
        self.now = 0.0
        self.lanes = {}
        self.stalled = {}
        self.slow = set()
        self.steps = 0
        self.leases = {}
        self.wanted = {}
        self.lease_ids = itertools.count(1)
        self.ids = Ids()
        self.deaths = 0
        self.to_die, self.to_lose = deaths, losses
        self.faults = bool(losses)
        self.gave_up = set()
        self.problems = []
        self.retries = 3
        self.work = None
        self.store = Store(self)
        self.head = Head(self)
        self.watch = Watch(self)
        self.processes = [Process(self, number) for number in range(1, processes + 1)]
        self.by_id = {process.id: process for process in self.processes}
        for process in self.processes:
            self.watch.put_on(process)
        self._patches = [
            patch("limelight.actors.native.streaming.Future", self._future),
            patch("limelight.actors.native.entrusted_object.Future", self._future),
            patch("limelight.actors.ids.actor_id", self.ids.actor_id),
        ]
        for applied in self._patches:
            applied.start()

    def close(self):
        runtime.install(None)
        for process in self.processes:
            process.dead = True
        for applied in self._patches:
            applied.stop()

    def _future(self):
        """A future whose `result` lets the world go on."""
        world, process = self, self.by_id[runtime.current().hub.process_id]

        class Awaited(Future):
            def result(self, timeout=None):
                world.wait(process, self.done)
                return super().result(timeout)

        return Awaited()

    @property
    def alive(self):
        return [process for process in self.processes if not process.dead]

    def send(self, source, target, event):
        self.lanes.setdefault((source, target), deque()).append(event)

    # what happens next

    def _choices(self):
        """What could happen next, as (function, argument) pairs."""
        found = [(self._arrive, lane) for lane, events in self.lanes.items() if events and not self._stands(lane)]
        if self.slow:
            fast = [choice for choice in found if choice[1] not in self.slow]
            found = fast if self.random.random() > HURRY else found
        for process in self.alive:
            if process.inbox and not self._stands(process):
                found.append((process.drain, None))
            if process.timers:
                found.append((process.fire, None))
            if process.jobs and not process.busy:
                found.append((process.run_job, None))
            if self.work is not None and not process.busy:
                found.append((self._work, process))
        return found

    def slow_lanes(self, share):
        """From now on, about so many of the lanes between processes are slower than all the rest."""
        ids = [process.id for process in self.processes]
        self.slow = {lane for lane in itertools.product(ids, ids) if self.random.random() < share}

    def _stands(self, who):
        return self.stalled.get(who, 0) > self.steps

    def _work(self, process):
        with process.working(), suppress(Killed):
            self.work(process)

    def _stall(self):
        """Some lane, or some process's wire thread, stands still for a while."""
        who = self.random.choice([*self.lanes, *self.alive])
        self.stalled[who] = self.steps + self.random.randint(1, LONGEST_STALL)

    def _fail(self):
        """Something fails, where something is still to fail. A process dies while it has much to say, rather."""
        if self.to_lose and self.store.objects and self.random.random() < 0.02:
            self.to_lose -= 1
            self.random.choice([self.store.lose, self.store.lose, self.store.copy])()
        if self.to_die and len(self.alive) > 2:
            victim = self.random.choice(self.alive)
            saying = sum(source == victim.id and bool(events) for (source, _), events in self.lanes.items())
            if saying > 1 and self.random.random() < 0.01 * (saying - 1):
                self.to_die -= 1
                self.kill(victim)

    def step(self):
        """Let one thing happen; False when there is nothing."""
        self.steps += 1
        if self.lanes and self.random.random() < STALL:
            self._stall()
        self._fail()
        choices = self._choices()
        if not choices:
            self.stalled.clear()
            slow, self.slow = self.slow, set()
            choices = self._choices()
            self.slow = slow
        if not choices:
            return False
        function, argument = self.random.choice(choices)
        function(argument)
        if self.problems:
            raise self.problems[0]
        return True

    def problem(self, text):
        """Something is wrong. Said here, and not raised: user code's errors are results."""
        self.problems.append(AssertionError(text))

    def wait(self, process, ready):
        """User code of a process waits until something is `ready`; everybody else goes on.

        Raises:
            GaveUpError: it has waited for long, or nothing happens any more.
            Killed: the process has died meanwhile.
        """
        for _ in range(PATIENCE):
            if process.dead:
                raise Killed
            if ready():
                return True
            if not self.step():
                break
        raise GaveUpError

    def settle(self):
        """Go on without any work until nothing happens any more."""
        work, self.work = self.work, None
        for _ in range(200_000):
            if not self.step():
                self.work = work
                return
        raise AssertionError("the processes never come to rest")

    def _arrive(self, lane):
        source, target = lane
        event = self.lanes[lane].popleft()
        if target == NODE.process_id:
            self._at_node(self.by_id[source], event)
        elif not self.by_id[target].dead:
            self.by_id[target].on_the_wire(event, self.by_id[target])

    # the node manager: grants whatever is wanted, on random processes; and the head behind it

    def _at_node(self, caller, body):
        match body:
            case Demand():
                self.wanted[caller.id, body.class_key] = body.wanted
                self._grant_wanted(caller.id, body.class_key)
            case ReturnLease():
                holder = self.leases.pop(body.lease_id, None)
                if not holder and not caller.dead:
                    self.problem("a lease was returned twice")
                if holder:
                    self._grant_wanted(*holder)
            case RegisterActor():
                self.head.register(body.spec)
            case SetCreation():
                self.head.created_from(body.actor_id, body.creation, body.error)
            case WatchActor():
                self.head.watch(caller, body.actor_id)
            case ActorUnreferenced():
                self.head.unreferenced(body.actor_id, body.calls_pending)
            case KillActor():
                self.head.kill(body.actor_id)
            case ActorExited():
                self.head.exited(body.actor_id)
            case _ if callable(body):
                body()

    def _grant_wanted(self, caller, class_key):
        held = sum(holder == (caller, class_key) for holder in self.leases.values())
        for _ in range(min(self.wanted[caller, class_key], 3) - held):
            self._grant(caller, class_key, self.random.choice(self.alive))  # also the caller itself

    def _grant(self, caller, class_key, worker):
        lease_id = str(next(self.lease_ids))
        self.leases[lease_id] = (caller, class_key)
        body = encode(LeaseGranted(class_key, lease_id, worker.address, NODE, {}))
        self.send(
            NODE.process_id, caller, lambda process: process.hub.on_call(None, Call(0, CORE, "LeaseGranted", body))
        )

    def kill(self, process):
        """A process dies: of what it sent, some arrives; then everybody learns of its end.

        The node managers, which may be quicker, ask the living what they know of that it has made for them.
        """
        process.dead = True
        self.deaths += 1
        process.forget()
        for lease, (holder, _) in list(self.leases.items()):
            if holder == process.id:
                del self.leases[lease]
        for other in self.processes:
            self.lanes.pop((other.id, process.id), None)
            self._cut(process, other.id).append(lambda other: other.peer_lost(process))
        self._cut(process, NODE.process_id).append(lambda: self.head.process_lost(process))
        for owner in self.alive:
            for node_id, made in self.store.made(process.id, owner.id).items():
                self._ask_owner(process, owner, node_id, made)

    def _ask_owner(self, gone, owner, node_id, made):
        copies = [WrittenCopy(number, object_id, place.offset) for number, (object_id, place) in enumerate(made)]
        question = encode(WriterLost(gone.id, node_id, copies))

        def answered(reply):
            for number in msgspec.msgpack.decode(reply.body):
                self.store.objects.pop(made[number], None)

        owner.node_channel.call(CORE, "WriterLost", question, answered)

    def _cut(self, process, target):
        """What a process that died has sent to another, or the first part of that."""
        sent = self.lanes.setdefault((process.id, target), deque())
        for _ in range(self.random.choice([0, len(sent), self.random.randint(0, len(sent))])):
            sent.pop()
        return sent


__all__ = ["CORE", "EXECUTOR", "NODE", "World"]
