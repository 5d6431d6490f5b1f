"""A cluster without processes, clocks or sockets whose head crashes: real heads, relays, lease machines and desks.

What is simulated: the network (lanes keep order, links are lost with their ends), the store (a batch is durable some
time after it was queued, and at a crash the one under way may or may not be), workers, users' processes, and how a node
looks for the head. Everything is decided by one random generator.
"""

import asyncio
import itertools
from collections import defaultdict, deque
from contextlib import contextmanager
from random import Random
from types import SimpleNamespace

from limelight.actors import contract as c
from limelight.actors.contract import CORE, HEAD, NODE, decoder_of, encode
from limelight.cluster import cluster_message as cm
from limelight.cluster.head.head import Head
from limelight.cluster.head.head_state import HeadState
from limelight.cluster.node.actor_desk import NodeActorDesk
from limelight.cluster.node.head_relay import HeadRelay
from limelight.cluster.scheduling import lease_message as m
from limelight.cluster.scheduling.lease import LeaseMachine
from limelight.cluster.scheduling.resources import ResourceSet
from limelight.cluster.system_process import Arrived, Lost
from limelight.transport.address import ProcessAddress
from limelight.transport.protocol import Reply

from .crash_network import LOST, Clock, Process, Store, Writer


class Worker:
    """A worker process: it constructs actors, and ends them when told."""

    def __init__(self, node: "Node", name: str) -> None:
        self._node, self.address = node, ProcessAddress(name, "host")
        self.channel, self.constructed = self, {}
        self.instances: set[bytes] = set()
        self.granted_to: set[bytes] = set()
        self.constructions: list[bytes] = []
        self._making: dict[bytes, object] = {}

    def notify(self, actor, method, body) -> None:
        if method == "DropActor":
            actor_id = decoder_of(c.DropActor).decode(body).actor_id
            self.instances.discard(actor_id)
            self._making.pop(actor_id, None)
        if method == "EndActor":
            actor_id = decoder_of(c.EndActor).decode(body).actor_id
            if actor_id in self.instances:
                self.instances.discard(actor_id)
                self._node.from_process(self.address.process_id, c.ActorExited(actor_id, "it was told to"))

    def call(self, actor, method, body, answer) -> None:
        actor_id = self._node.creations[body]
        making = self._making[actor_id] = object()

        self.constructions.append(actor_id)

        def made() -> None:
            if self._node.workers.get(self.address.process_id) is not self or self._node.process.dead:
                return
            if self._making.get(actor_id) is making:  # else it was dropped: it runs to its end, and is not there then
                assert actor_id not in self.instances, f"constructed twice in one process: {actor_id.hex()}"
                self.instances.add(actor_id)
            answer(Reply(1, False, encode(c.Outcome("ok", 0.0, ()))))

        self._node.world.clock.call_later(self._node.world.random.choice([0.0, 0.01, 0.5]), made)


class Node:
    """A node: a real relay, lease machine and desk for actors, and the least of a link to the head."""

    def __init__(self, world: "World", number: int) -> None:
        self.world = world
        self.node_id = bytes([number]) * 28
        self.process = Process(world, f"node{number}", node=self.node_id.hex())
        self.relay = HeadRelay(self.process)
        self.process.actors = {HEAD: self, NODE: self}
        total = ResourceSet.parse({"CPU": 1000})
        self.resources = total
        self.machine = LeaseMachine(self.node_id.hex(), total)
        self.methods, self.workers, self.creations = {}, {}, world.creations
        self.head: ProcessAddress | None = None
        self.away, self.registered, self.ended = True, False, ""
        self.closing = False
        self.orders: list[str] = []
        self.told: list[object] = []
        self.term = 0
        self.known_heads: list[str] = []
        self.troubles: list[str] = []
        self.known_jobs: tuple[bytes, ...] = ()
        self.jobs = SimpleNamespace(find=lambda _, then: then(None), known=lambda: self.known_jobs)
        self._names = itertools.count()
        self.manager = SimpleNamespace(
            methods=self.methods,
            workers=SimpleNamespace(find=self.workers.get),
            jobs=self.jobs,
            assignment=lambda *_: c.AssignWorker(b"", "", {}, {}, b"", capture=False, incarnation=0),
            assign=lambda worker, about, then: then(),
            feed=self.feed,
            to_head=self.to_head,
            closing=False,
        )
        self.desk = NodeActorDesk(self.process, self.process.address, self.manager, 2)
        self._timer = None
        self._look()

    # --- the link ---

    def _look(self) -> None:
        """Look for a head, now and then."""
        if self.process.dead:
            return
        head = self.world.head_process
        if self.away and head is not None and not head.dead:
            self._follow(head.address, self.world.store.term)
        self.world.clock.call_later(0.1, self._look)

    def _follow(self, head: ProcessAddress, term: int) -> None:
        self.head, self.away, self.term = head, False, term
        registration = cm.RegisterNode(
            self.node_id, self.process.address, "host", self.resources.units(), {}, back=self.registered
        )
        self.process.ask(self.head, HEAD, registration, lambda reply: setattr(self, "registered", True))
        self.relay.connected(self.head)
        self.feed(m.HeadConnected())

    def to_head(self, command) -> None:
        if isinstance(command, m.WorkerGranted) and (worker := self.workers.get(command.worker_id)):
            worker.granted_to.add(bytes.fromhex(command.request_id.partition(":")[0]))
        if not self.away:
            self.process.notify(self.head, HEAD, cm.FromNode(self.node_id, command))

    def on_receive(self, message) -> None:
        match message:
            case Arrived(channel, call) if call.actor == NODE:
                self._order(channel, call)
            case Lost(channel, _):
                if self.head is not None and channel.peer.process_id == self.head.process_id and not self.away:
                    self.away = True
                    self.relay.disconnected()
                elif channel.peer.process_id in self.world.users:
                    self.feed(m.CallerLost(channel.peer.process_id))
                self.relay.on_receive(message)
            case _:
                self.relay.on_receive(message)

    def _order(self, channel, call) -> None:
        if call.method == "DescribeDeath":
            channel.reply(call.call_id, b"")
            return
        if call.method == "HeadLeads":
            leads = decoder_of(cm.HeadLeads).decode(call.body)
            if leads.term > self.term:
                self._follow(channel.peer, leads.term)
            return
        if self.head is None or channel.peer.process_id != self.head.process_id:
            return
        self.orders.append(call.method)
        match call.method:
            case "NodeOrder":
                self.told.append(decoder_of(cm.NodeOrder).decode(call.body).event)
                self.feed(decoder_of(cm.NodeOrder).decode(call.body).event)
            case "NodeExpired":
                self.ended = decoder_of(cm.NodeExpired).decode(call.body).reason
                self.world.end(self.process)
            case "KnownHeads":
                self.known_heads = decoder_of(cm.KnownHeads).decode(call.body).addresses
            case "HeadTroubled":
                self.troubles.append(decoder_of(cm.HeadTroubled).decode(call.body).reason)
            case _ if call.method in self.methods:
                self.methods[call.method](channel, call)
            case _:
                pass

    def from_process(self, process_id: str, body) -> None:
        """A worker says something to the head."""
        process = self.world.processes.get(process_id) or Process(self.world, process_id)
        process.notify(self.process.address, HEAD, body)

    # --- the machine ---

    def feed(self, event) -> None:
        for command in self.machine.handle(event, self.world.clock.time()):
            self._execute(command)
        if self._timer is not None:
            self._timer.cancel()
        when = self.machine.wake_at()
        if when is not None and not self.process.dead:
            self._timer = self.world.clock.call_at(when, self._tick)

    def _tick(self) -> None:
        if not self.process.dead:
            self.feed(m.Tick())

    def _execute(self, command) -> None:
        match command:
            case m.StartWorker():
                self.world.clock.call_later(self.world.random.choice([0.0, 0.05]), self._started, command)
            case m.StopWorker():
                self.workers.pop(command.worker_id, None)
                self.world.end_quietly(command.worker_id)
            case m.WorkerGranted() | m.WorkerRefused() | m.RequestedWorkerLost():
                if not self.desk.answered(command):
                    self.to_head(command)
            case m.WorkersHeld():
                self.to_head(m.WorkersHeld(self.desk.held(command.request_ids), command.group_ids, self.jobs.known()))
            case m.NodeReport() | m.Reserved():
                self.to_head(command)
            case _:
                pass

    def _started(self, command) -> None:
        if not self.process.dead:
            name = f"worker{next(self._names)} of {self.process.address.process_id}"
            self.workers[name] = Worker(self, name)
            self.feed(m.WorkerStarted(command.start_id, name))

    def kill_worker(self, name: str) -> None:
        """A worker's process is killed."""
        del self.workers[name]
        self.world.end_quietly(name)
        self.feed(m.WorkerLost(name, "signal 9"))


class User:
    """A user's process: it makes actors and groups, and hears what becomes of them."""

    def __init__(self, world: "World", name: str, node: Node) -> None:
        self.world, self.node, self.name = world, node, name
        self.process = Process(world, name)
        self.process.actors = {CORE: self}
        self.heard: dict[bytes, c.ActorChanged] = {}
        self.answers = itertools.count()
        self.open = 0

    def ask(self, body, then=lambda reply: None) -> None:
        self.open += 1

        def answered(reply) -> None:
            self.open -= 1
            if isinstance(reply, Reply):
                then(reply)

        self.process.ask(self.node.process.address, HEAD, body, answered)

    def tell(self, body) -> None:
        self.process.notify(self.node.process.address, HEAD, body)

    def on_receive(self, message) -> None:
        if isinstance(message, Lost):
            if message.channel.far is self.node.process:
                self.world.end(self.process)
            return
        call = message.call
        if call.method == "ActorChanged":
            change = decoder_of(c.ActorChanged).decode(call.body)
            before = self.heard.get(change.actor_id)
            if before is None or change.incarnation >= before.incarnation:
                self.heard[change.actor_id] = change
        elif call.method == "HeadReplaced":
            for actor_id, change in self.heard.items():
                if change is None or change.state != "dead":
                    self.tell(c.WatchActor(actor_id))

    def watch(self, actor_id: bytes) -> None:
        self.heard.setdefault(actor_id, c.ActorChanged(actor_id, "pending", 0, None, None, b""))
        self.tell(c.WatchActor(actor_id))


class World:
    """All of it; one step at a time."""

    def __init__(self, seed: int, nodes: int = 2, users: int = 3) -> None:
        self.random, self.clock = Random(seed), Clock()
        self.processes: dict[str, Process] = {}
        self.lanes = defaultdict(deque)
        self.store = Store()
        self.creations: dict[bytes, bytes] = {}
        self.head_process: Process | None = None
        self.head: Head | None = None
        self.writer: Writer | None = None
        self.users: dict[str, User] = {}
        self._heads = itertools.count(1)
        with self.running():
            self.start_head()
            self.nodes = [Node(self, number) for number in range(nodes)]
        for number in range(users):
            self.users[f"user{number}"] = User(self, f"user{number}", self.nodes[number % nodes])

    @contextmanager
    def running(self):
        """Have code under test find the simulated loop."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self.clock)
        try:
            yield
        finally:
            asyncio._set_running_loop(before)

    # --- the head ---

    def start_head(self) -> None:
        self.store.term += 1
        self.head_process = Process(self, f"head{next(self._heads)}")
        self.writer = Writer(self)
        rows = {table: dict(found) for table, found in self.store.rows.items()}
        self.head = Head(self.head_process, HeadState(self.writer, rows))
        self.head_process.actors = {HEAD: self.head}
        self.head.restore(rows, cm.HeadLeads(self.store.term, "s"))

    def crash_head(self) -> None:
        self.writer.crash()
        self.head.close()
        self.end(self.head_process)
        self.head_process = None

    def ask(self, body) -> list[Reply]:
        """Ask the head, as a command does; the answers, which come later."""
        answers: list[Reply] = []
        with self.running():
            asks = Process(self, f"command {self.random.random()}")
            asks.ask(self.head_process.address, HEAD, body, answers.append)
        return answers

    # --- processes ---

    def end(self, process: Process) -> None:
        """A process is gone: of what it said some may arrive yet; then the others learn of its end."""
        if process.dead:
            return
        process.dead = True
        name = process.address.process_id
        for (source, target), lane in list(self.lanes.items()):
            if target == name:
                lane.clear()
            elif source == name and lane:
                for _ in range(self.random.randrange(len(lane) + 1)):
                    lane.pop()
        for node in getattr(self, "nodes", ()):
            if node.process is process:
                for worker in list(node.workers):
                    self.end_quietly(worker)
                node.workers.clear()
        for other in list(self.processes.values()):
            if not other.dead and self._knows(other, process):
                self.lanes[name, other.address.process_id].append(LOST)

    def end_quietly(self, name: str) -> None:
        """A worker is gone; it may have spoken to the head."""
        process = self.processes.get(name)
        if process is not None:
            self.end(process)

    def _knows(self, one: Process, other: Process) -> bool:
        """Whether there is a link between two: all others talk to nodes only."""
        return one.address.process_id.startswith("node") or other.address.process_id.startswith("node")

    # --- time ---

    def step(self) -> bool:
        """Let one thing happen; False where nothing is left to happen now."""
        with self.running():
            return self._step()

    def _step(self) -> bool:
        choices = [lane for lane, waiting in self.lanes.items() if waiting]
        may_write = self.writer is not None and self.head_process is not None
        if may_write and self.random.random() < 0.3 and self.writer.step():
            return True
        if choices:
            source, target = self.random.choice(choices)
            message = self.lanes[source, target].popleft()
            near, far = self.processes[source], self.processes[target]
            if not far.dead:
                if message is LOST:
                    far.lost(near)
                else:
                    far.deliver(near, message)
            return True
        if may_write and self.writer.step():
            return True
        return self.clock.ring(self.clock.now)

    def run(self, seconds: float) -> None:
        """Let time pass, and all that happens in it."""
        with self.running():
            end = self.clock.now + seconds
            while True:
                while self._step():
                    pass
                if not self.clock.ring(end):
                    return
