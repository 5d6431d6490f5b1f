"""Several processes of a cluster in one, with the network, the threads and the store simulated.

Everything that decides who holds an object is the real thing: hubs, tables, borrowing, submission, leases, execution.
What happens next is drawn from a seeded random: a message of some pair arrives, a wire thread takes
something from its inbox, a timer fires, a user's thread runs a job or does something of its own. Messages of a pair
keep their order; nothing else does.
"""

import itertools
from collections import deque
from contextlib import contextmanager
from random import Random
from typing import NamedTuple

import msgspec

from limelight.actors import runtime
from limelight.actors.contract import (
    CORE,
    EXECUTOR,
    Demand,
    LeaseGranted,
    Location,
    ReturnLease,
    WriterLost,
    WrittenCopy,
    encode,
)
from limelight.actors.native.environment import Environments
from limelight.actors.native.hub import Hub
from limelight.actors.native.identity import Identity
from limelight.actors.native.runtime import NativeRuntime
from limelight.transport.address import ProcessAddress
from limelight.transport.error import PeerLostError
from limelight.transport.protocol import Call, Credit, Item, Reply

NODE = ProcessAddress("0" * 32, "host")


class World:
    """The processes, what is on its way between them, and the random that decides."""

    def __init__(self, seed, processes):
        self.random = Random(seed)
        self.now = 0.0
        self.lanes = {}
        self.store = Store()
        self.leases = {}
        self.wanted = {}
        self.lease_ids = itertools.count(1)
        self.deaths = 0
        self.processes = [Process(self, number) for number in range(1, processes + 1)]
        self.by_id = {process.id: process for process in self.processes}

    def close(self):
        runtime.install(None)
        for process in self.processes:
            process.dead = True

    @property
    def alive(self):
        return [process for process in self.processes if not process.dead]

    def send(self, source, target, event):
        self.lanes.setdefault((source, target), deque()).append(event)

    def choices(self, work):
        """What could happen next, as (function, argument) pairs."""
        found = [(self._arrive, lane) for lane, events in self.lanes.items() if events]
        for process in self.alive:
            if process.inbox:
                found.append((process.drain, None))
            if process.timers:
                found.append((process.fire, None))
            if process.jobs and not process.busy:
                found.append((process.run_job, None))
            if work is not None and not process.busy:
                found.append((work, process))
        return found

    def step(self, work=None):
        """Let one thing happen; False when there is nothing."""
        choices = self.choices(work)
        if not choices:
            return False
        function, argument = self.random.choice(choices)
        function(argument)
        return True

    def settle(self):
        """Go on until nothing happens any more."""
        for _ in range(200_000):
            if not self.step():
                return
        raise AssertionError("the processes never come to rest")

    def _arrive(self, lane):
        source, target = lane
        event = self.lanes[lane].popleft()
        if target == NODE.process_id:
            self._at_node(source, event)
        elif not self.by_id[target].dead:
            with self.by_id[target].acting(wire=True):
                event(self.by_id[target])

    # the node manager: grants whatever is wanted, on random processes

    def _at_node(self, caller, body):
        if isinstance(body, Demand):
            self.wanted[caller, body.class_key] = body.wanted
            self._grant_wanted(caller, body.class_key)
        elif isinstance(body, ReturnLease):
            holder = self.leases.pop(body.lease_id, None)
            assert holder or self.by_id[caller].dead, "a lease was returned twice"
            if holder:
                self._grant_wanted(*holder)

        elif isinstance(body, Unknown):
            for key in body.keys:
                self.store.objects.pop(key, None)

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

        The node manager, which may be quicker, asks the living what they know of that it has made for them.
        """
        process.dead = True
        self.deaths += 1
        process.forget()
        for lease, (holder, _) in list(self.leases.items()):
            if holder == process.id:
                del self.leases[lease]
        for other in self.processes:
            self.lanes.pop((other.id, process.id), None)
            sent = self.lanes.setdefault((process.id, other.id), deque())
            while sent and self.random.random() < 0.5:
                sent.pop()
            sent.append(lambda other, gone=process: other.peer_lost(gone))
        for other in self.alive:
            made = self.store.made(process.id, other.id)
            if made:
                self.send(NODE.process_id, other.id, lambda other, made=made: self._ask(process, other, made))

    def _ask(self, gone, owner, made):
        copies = [WrittenCopy(number, object_id, offset) for number, (object_id, offset) in enumerate(made)]
        answer = Answer(lambda unknown: self.send(owner.id, NODE.process_id, Unknown([made[key] for key in unknown])))
        owner.hub.on_call(answer, Call(1, CORE, "WriterLost", encode(WriterLost(gone.id, b"n", copies))))


class Unknown(NamedTuple):
    """To the node: an owner does not know these objects."""

    keys: list


class Answer(NamedTuple):
    """Stands for the channel through which the node has asked."""

    take: object

    def reply(self, _call_id, body):
        self.take(msgspec.msgpack.decode(body))


class Store:
    """All nodes' stores. An object may be freed once, and read as long as it is not."""

    def __init__(self):
        self.objects = {}
        self.people = {}
        self.offsets = itertools.count(1)

    def made(self, maker, owner):
        return [key for key in self.objects if self.people[key] == (maker, owner)]


class StoreClient:
    """A process's way to the store."""

    def __init__(self, store, process_id):
        self.store, self.process_id = store, process_id

    def write(self, object_id, owner, parts):
        location = Location(b"n", next(self.store.offsets), 1)
        key = object_id, location.offset
        self.store.objects[key] = [bytes(part) for part in parts]
        self.store.people[key] = self.process_id, owner.process_id
        return location

    def read(self, object_id, location):
        return [memoryview(part) for part in self.store.objects[object_id, location.offset]]

    def free(self, object_id, location):
        del self.store.objects[object_id, location.offset]


class Process:
    """A driver or worker: a real hub over a simulated wire thread, network and store."""

    def __init__(self, world, number):
        self.world = world
        self.id = f"{number:032x}"
        self.address = ProcessAddress(self.id, "host")
        self.dead = self.busy = self.on_wire = False
        self.inbox, self.timers, self.jobs = deque(), [], deque()
        self.channels = {}
        self.held = []
        identity = Identity(process_id=self.id, host_id="host", token=b"", socket="", node=NODE, head=NODE)
        self.hub = Hub(identity, StoreClient(world.store, self.id), wire=Wire(self))
        self.hub.environments = Environments(self.hub)
        self.hub.links = Links(self)
        self.hub.address = self.address
        self.hub.table.attach(self.address)
        self.hub.serve(self)
        self.runtime = NativeRuntime(self.hub, close=lambda: None)
        self.body = None

    @contextmanager
    def acting(self, wire=False):
        before, was = runtime.current_or_none(), self.on_wire
        runtime.install(self.runtime)
        self.on_wire = wire
        try:
            yield
        finally:
            runtime.install(before)
            self.on_wire = was

    # the wire thread

    def drain(self, _=None):
        with self.acting(wire=True):
            function, argument = self.inbox.popleft()
            function(argument)

    def fire(self, _=None):
        timer = min(self.timers, key=lambda timer: timer[0])
        self.timers.remove(timer)
        self.world.now = max(self.world.now, timer[0])
        with self.acting(wire=True):
            timer[1](*timer[2])

    def channel(self, process_id):
        if process_id not in self.channels:  # its own is both ends of its channel to itself
            self.channels[process_id] = Channel(self, self.world.by_id[process_id])
        return self.channels[process_id]

    def peer_lost(self, gone):
        channel = self.channel(gone.id)
        channel.error = PeerLostError("it died")
        while channel.pending:
            channel.pending.popitem()[1][0](channel.error)
        self.hub.on_lost(channel, channel.error)

    def forget(self):
        """It is dead: what it had goes without consequences for others."""
        self.inbox.clear()
        self.timers.clear()
        self.jobs.clear()
        self.held.clear()

    # the host of tasks

    def deliver(self, job):
        self.jobs.append(job)

    def interrupt(self, job):
        pass

    def run_job(self, _=None):
        job = self.jobs.popleft()
        with self.acting():
            if self.hub.executor.claim(job):
                self.busy = True
                try:
                    self.hub.execution.run(job, lambda _: self.body)
                finally:
                    self.busy = False
                    self.hub.executor.done(job)


class Wire:
    """Stands for a WireThread; a post may be handled at once, as if the thread had just been waiting for it."""

    def __init__(self, process):
        self.process = process
        self.loop = self

    def post(self, function, argument):
        process = self.process
        if process.dead:
            return
        process.inbox.append((function, argument))
        if not process.on_wire and process.world.random.random() < 0.3:
            while process.inbox:
                process.drain()

    def time(self):
        return self.process.world.now

    def call_soon(self, function, *args):
        self.call_at(self.time(), function, *args)

    def call_later(self, delay, function, *args):
        self.call_at(self.time() + delay, function, *args)

    def call_at(self, when, function, *args):
        if not self.process.dead:
            self.process.timers.append((when, function, args))


class Links:
    """Stands for links to processes that are all connected, until they die."""

    def __init__(self, process):
        self.process = process

    def notify(self, address, actor, body):
        if address.process_id == NODE.process_id:
            if not self.process.dead:
                self.process.world.send(self.process.id, NODE.process_id, body)
            return
        self.process.channel(address.process_id).notify(actor, type(body).__name__, encode(body))

    def ask(self, address, actor, body, answer):
        if address.process_id == NODE.process_id:  # about the death of a worker
            self.process.hub.wire.post(answer, Reply(0, False, b""))
            return
        self.process.channel(address.process_id).call(actor, type(body).__name__, encode(body), answer)

    def has_channel(self, process_id):
        channel = self.process.channels.get(process_id)
        return channel is not None and channel.error is None

    def connected(self, address, then):
        channel = self.process.channel(address.process_id)
        then(channel if channel.error is None else channel.error)


class Channel:
    """One end of a channel; sending puts an event on the pair's lane."""

    queued_bytes = 0
    connected = True

    def __init__(self, process, peer):
        self.process, self._peer = process, peer
        self.peer = peer.address
        self.error = None
        self.pending = {}
        self.ids = itertools.count(1)

    def _send(self, event):
        if not self.process.dead and self.error is None and not self._peer.dead:
            mine = self.process.id
            self.process.world.send(mine, self._peer.id, lambda peer: event(peer.channel(mine)))

    def call(self, actor, method, body, on_reply, on_item=None):
        call_id = next(self.ids)
        if self.error is not None:
            self.process.hub.wire.post(on_reply, self.error)
            return call_id
        self.pending[call_id] = (on_reply, on_item)
        self._send(lambda end: end.process.hub.on_call(end, Call(call_id, actor, method, body)))
        return call_id

    def notify(self, actor, method, body):
        self._send(lambda end: end.process.hub.on_call(end, Call(0, actor, method, body)))

    def reply(self, call_id, body, failed=False):
        def arrive(end):
            if call_id in end.pending:
                end.pending.pop(call_id)[0](Reply(call_id, failed, body))

        self._send(arrive)

    def item(self, call_id, index, body):
        def arrive(end):
            if call_id in end.pending:
                end.pending[call_id][1](Item(call_id, index, body))

        self._send(arrive)

    def credit(self, call_id, count):
        self._send(lambda end: end.process.hub.on_credit(end, Credit(call_id, count)))


__all__ = ["CORE", "EXECUTOR", "World"]
