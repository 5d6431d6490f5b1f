"""A driver or worker: a real hub over a simulated wire thread, network and store."""

from collections import deque
from contextlib import contextmanager

from limelight.actors import runtime
from limelight.actors.contract import KillActor, LocateObject
from limelight.actors.native.environment import Environments
from limelight.actors.native.hosted_actor import SyncActor
from limelight.actors.native.hub import Hub
from limelight.actors.native.identity import Identity
from limelight.actors.native.running import running
from limelight.actors.native.runtime import NativeRuntime
from limelight.transport.address import ProcessAddress
from limelight.transport.error import PeerLostError, TransportError

from .network import NODE, Channel, Links, NodeChannel, Wire
from .store import StoreClient


class Process:
    """One of a world's. It hosts tasks and any number of actors, and runs one thing at a time.

    Attributes:
        held: what user code keeps here.
        body: what tasks run.
        busy: user code runs, or waits in here.
    """

    def __init__(self, world, number):
        self.world = world
        self.id = f"{number:032x}"
        self.address = ProcessAddress(self.id, "host")
        self.dead = self.busy = self.on_wire = False
        self.inbox, self.timers, self.jobs = deque(), [], deque()
        self.channels = {}
        self.node_channel = NodeChannel(self)
        self.held = []
        self.lights = {}
        identity = Identity(process_id=self.id, host_id="host", token=b"", socket="", node=NODE)
        self.hub = Hub(identity, StoreClient(world.store, self.id), wire=Wire(self))
        self.hub.ids = world.ids
        self.hub.environments = Environments(self.hub)
        self.hub.links = Links(self)
        self.hub.address = self.address
        self.hub.table.attach(self.address)
        self.hub.serve(self)
        self.hub.ask = self.ask
        self.hub.waiting._wait = lambda latch, _: self.world.wait(self, lambda: latch._open)
        self.runtime = NativeRuntime(self.hub, close=lambda: None)
        self.body = None

    @contextmanager
    def acting(self, wire=False):
        before, was = runtime.current_or_none(), self.on_wire
        runtime.install(self.runtime)
        job = running.set(None)
        self.on_wire = wire
        try:
            yield
        finally:
            running.reset(job)
            runtime.install(before)
            self.on_wire = was

    @contextmanager
    def working(self):
        """User code runs: nothing else of the kind does meanwhile."""
        self.busy = True
        try:
            with self.acting():
                yield
        finally:
            self.busy = False

    def ask(self, address, actor, body, timeout=None, abandon=False):
        """Stands for `Hub.ask`: waits for an answer while the world goes on."""
        del timeout
        match body:
            case LocateObject():
                return self.world.store.locate(body.object_id, body.hint)
            case KillActor():
                self.hub.wire.post(lambda _: self.tell_node(body), None)
                return b""
        answers = []
        self.hub.wire.post(lambda _: self.hub.links.ask(address, actor, body, answers.append), None)
        self.world.wait(self, lambda: answers)
        if isinstance(answers[0], TransportError):
            raise type(answers[0])(str(answers[0]))  # a new one: what user code holds must not stay with the channel
        return answers[0].body

    def tell_node(self, message):
        if not self.dead:
            self.world.send(self.id, NODE.process_id, message)

    # the wire thread

    def on_the_wire(self, function, *args):
        """Run what belongs on the wire thread. Its failures are nobody's there: they end the test."""
        with self.acting(wire=True):
            try:
                function(*args)
            except Exception as error:
                self.world.problems.append(error)

    def drain(self, _=None):
        self.on_the_wire(*self.inbox.popleft())

    def fire(self, _=None):
        timer = min(self.timers, key=lambda timer: timer[0])
        self.timers.remove(timer)
        self.world.now = max(self.world.now, timer[0])
        self.on_the_wire(timer[1], *timer[2])

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
        self.lights.clear()

    # the host of tasks and actors

    def deliver(self, job):
        if job.template.kind == "create":
            actor = SyncActor(self.hub, job, self)
            self.lights[actor.actor_id] = actor
        self.jobs.append((job, self.lights.get(job.invocation.actor_id)))

    def interrupt(self, job):
        pass

    def drop_light(self, actor_id):
        actor = self.lights.pop(actor_id, None)
        if actor is not None:
            actor.drop()

    def leaves(self):
        return False

    def run_job(self, _=None):
        job, actor = self.jobs.popleft()
        executor = self.hub.executor
        with self.working():
            if executor.claim(job, actor):
                try:
                    self.world.watch.started(job)
                    self._run(job, actor)
                finally:
                    self.world.watch.ended(job)
                    executor.done(job)

    def _run(self, job, actor):
        match job.template.kind:
            case "create":
                actor.run()
            case "method":
                self.hub.execution.run(job, actor.method)
            case _:
                self.hub.execution.run(job, lambda _: self.body)
