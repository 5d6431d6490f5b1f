"""The head, as far as actors' lives go: makes them, tells who watches, ends them, and makes them again."""

from limelight.actors.contract import (
    CORE,
    EXECUTOR,
    ActorChanged,
    Creation,
    DropActor,
    EndActor,
    Outcome,
    decoder_of,
    encode,
)
from limelight.actors.serialization import serialize_error
from limelight.exceptions import ActorDiedError
from limelight.transport.protocol import Call

from .network import NODE


class Actor:
    """What the head knows of one."""

    def __init__(self, spec):
        self.spec = spec
        self.creation = spec.creation if spec.has_creation else b""
        self.state = "pending"
        self.incarnation = 0
        self.host = None
        self.ending = False
        self.cause = b""
        self.watchers = {}


class Head:
    """Actors by id. Everything it sends takes the lane from the node, so that it may be late.

    Attributes:
        place: chooses the process of an actor.
    """

    def __init__(self, world):
        self.world = world
        self.actors = {}
        self.early = {}
        self.place = lambda: world.random.choice(world.alive)

    def register(self, spec):
        actor = self.actors[spec.actor_id] = Actor(spec)
        for process in self.early.pop(spec.actor_id, ()):
            self.watch(process, spec.actor_id)
        if self.world.by_id[spec.owner.process_id].dead:
            self._die(actor)
        elif actor.creation:
            self._start(actor)

    def created_from(self, actor_id, creation, error):
        actor = self.actors[actor_id]
        if actor.state == "dead":
            return
        if error:
            self._die(actor, error)
        else:
            actor.creation = creation
            self._start(actor)

    def watch(self, process, actor_id):
        actor = self.actors.get(actor_id)
        if actor is None:  # its creator's word of it has been overtaken
            self.early.setdefault(actor_id, []).append(process)
            return
        actor.watchers[process.id] = process
        self._tell(actor, process)

    def unreferenced(self, actor_id, calls_pending):
        actor = self.actors[actor_id]
        if actor.state == "dead":
            return
        actor.ending = True
        if actor.state == "alive":
            self._order(actor, "EndActor", EndActor(actor_id))
        elif not calls_pending:
            self._die(actor)

    def exited(self, actor_id):
        if self.actors[actor_id].state != "dead":
            self._die(self.actors[actor_id])

    def kill(self, actor_id):
        """Its calls are given up at once; what runs of them in its host runs to its end, as with light actors."""
        actor = self.actors.get(actor_id)
        if actor is not None and actor.state != "dead":
            self._die(actor, killed=True)

    def process_lost(self, gone):
        for actor in self.actors.values():
            actor.watchers.pop(gone.id, None)
            if actor.state == "dead":
                continue
            if actor.spec.owner.process_id == gone.id:
                self.kill(actor.spec.actor_id)
            elif actor.host is gone:
                self._worker_lost(actor)

    def _worker_lost(self, actor):
        if actor.ending or actor.incarnation >= actor.spec.max_restarts:
            self._die(actor)
            return
        actor.incarnation += 1
        actor.state = "restarting"
        self._tell_all(actor)
        self._start(actor)

    def _start(self, actor):
        actor.host = host = self.place()
        incarnation = actor.incarnation
        creation = decoder_of(Creation).decode(actor.creation)

        def constructed(reply):
            outcome = decoder_of(Outcome).decode(reply.body)
            if actor.state == "dead" or actor.incarnation != incarnation:
                return
            if outcome.status != "ok":
                self._die(actor, outcome.returns[0].data)
                return
            actor.state = "alive"
            self._tell_all(actor)
            if actor.ending:
                self._order(actor, "EndActor", EndActor(actor.spec.actor_id))

        host.node_channel.call(EXECUTOR, "Template", creation.template)
        host.node_channel.call(EXECUTOR, "Invocation", creation.invocation, constructed)

    def _order(self, actor, method, body):
        actor.host.node_channel.call(EXECUTOR, method, encode(body))

    def _die(self, actor, error=b"", *, killed=False):
        if actor.host is not None:
            if killed or actor.state != "alive":  # calls, or its constructor, may be running there
                self.world.gave_up.add(actor.host.id)
            self._order(actor, "DropActor", DropActor(actor.spec.actor_id))
        actor.state = "dead"
        actor.cause = error or serialize_error(ActorDiedError(actor_id=actor.spec.actor_id))
        self._tell_all(actor)

    def _tell_all(self, actor):
        for process in actor.watchers.values():
            self._tell(actor, process)

    def _tell(self, actor, process):
        dead = actor.state == "dead"
        address = actor.host.address if actor.state == "alive" else None
        cause = actor.cause if dead else b""
        body = encode(ActorChanged(actor.spec.actor_id, actor.state, actor.incarnation, address, NODE, cause))
        self.world.send(
            NODE.process_id, process.id, lambda process: process.hub.on_call(None, Call(0, CORE, "ActorChanged", body))
        )
