"""The actors that a process knows: those it calls, those it created, those it hosts."""

import os
from typing import TYPE_CHECKING, Any

from ...exceptions import ActorDiedError, DeathCause, DeathKind
from ...transport.channel import Channel
from ...transport.protocol import Call
from .. import runtime
from ..contract import (
    HEAD,
    ActorChanged,
    ActorExited,
    ActorUnreferenced,
    Outcome,
    SetCreation,
    Value,
    WatchActor,
    decoder_of,
)
from ..serialization import serialize_error
from .actor_client import ActorClient
from .running import Job
from .task_record import TaskRecord

if TYPE_CHECKING:
    from .hub import Hub


class ActorRoster:
    """Clients by actor id, the creations this process answers for, and what the head is told. On the wire thread."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self.clients: dict[bytes, ActorClient] = {}
        self._creations: dict[bytes, TaskRecord] = {}
        self._ended: dict[bytes, DeathCause] = {}

    # --- as caller ---

    def client(self, actor_id: bytes, name: str) -> ActorClient:
        """The client of an actor. Made, and the head asked to keep it informed, if there is none. From any thread."""
        client = self.clients.get(actor_id)
        if client is None:
            made = ActorClient(self._hub, actor_id, name)
            client = self.clients.setdefault(actor_id, made)  # atomic: two threads get the same one
            if client is made:
                self._hub.wire.post(self._watch, actor_id)
        return client

    def _watch(self, actor_id: bytes) -> None:
        if self._hub.node_loss:
            self.clients[actor_id].node_lost(serialize_error(self._hub.node_loss.error()))
            return
        self._hub.links.notify(self._hub.head, HEAD, WatchActor(actor_id))

    def on_head_replaced(self, _channel: Channel, _call: Call) -> None:
        """Another head has taken over, which does not know what this process watches."""
        for actor_id, client in list(self.clients.items()):
            if client.state != "dead":
                self._watch(actor_id)

    def on_changed(self, _: Channel, call: Call) -> None:
        """The head says what became of an actor."""
        change: ActorChanged = decoder_of(ActorChanged).decode(call.body)
        client = self.clients.get(change.actor_id)
        if client is not None:
            client.changed(change)
        if change.state == "dead":  # final: who asks for it later asks the head anew
            self.clients.pop(change.actor_id, None)
            self.forget_creation(change.actor_id)

    # --- as creator ---

    def keep_creation(self, actor_id: bytes, record: TaskRecord) -> None:
        """Hold what an actor's constructor needs as long as the actor may be (re)started."""
        self._creations[actor_id] = record

    def has_created(self, actor_id: bytes) -> bool:
        """Whether this process has created the actor, and answers for what it was created with."""
        return actor_id in self._creations

    def forget_creation(self, actor_id: bytes) -> None:
        """The actor is dead for good."""
        self._creations.pop(actor_id, None)

    def creation_ready(self, actor_id: bytes, creation: bytes, near: list[tuple[str, int]]) -> None:
        """The arguments of an actor's constructor are there; `near`: where the large ones lie (`locality`)."""
        self._hub.links.notify(self._hub.head, HEAD, SetCreation(actor_id, creation, locality=near))

    def creation_failed(self, actor_id: bytes, error: bytes) -> None:
        """An argument of an actor's constructor will never be there: the actor dies of that error."""
        self.forget_creation(actor_id)
        self._hub.links.notify(self._hub.head, HEAD, SetCreation(actor_id, b"", error))

    def unreferenced(self, actor_id: bytes) -> None:
        """No handle of an actor that this process created is left anywhere."""
        client = self.clients.get(actor_id)
        pending = client is not None and client.pending_calls > 0
        self._hub.links.notify(self._hub.head, HEAD, ActorUnreferenced(actor_id, pending))

    # --- as host ---

    def name(self, actor_id: bytes) -> str:
        """The name of an actor that this process hosts; "" where it has none."""
        hosted = self._hub.executor.hosted(actor_id)
        return hosted.name if hosted is not None else ""

    def own(self, actor_id: bytes) -> Any:
        """The entry of an actor that this process hosts, for a handle to itself."""
        hosted = self._hub.executor.hosted(actor_id)
        return None if hosted is None else runtime.current().import_actor(actor_id, hosted.outline, None)

    def exits(self, job: Job, reason: str) -> Outcome:
        """The actor that runs a job ends itself: tell the head, and end when the outcome is out. From any thread."""
        actor_id = job.invocation.actor_id
        node = self._hub.identity.node_id.hex()
        cause = DeathCause(DeathKind.INTENDED_EXIT, reason, pid=os.getpid(), node_id=node)
        self._ended[actor_id] = cause  # for the calls behind this one, which the head's word does not reach in time
        error = _died(job, cause)
        hosted = self._hub.executor.hosted(actor_id)
        self._hub.executor.drop_actor(actor_id)  # at once: the next call in the queue must not run
        if hosted is not None:  # not while it was still being made
            hosted.finish()
        self._hub.wire.post(self._exited, (actor_id, reason))
        return Outcome("error", 0.0, (Value("e", serialize_error(error)),))

    def _exited(self, exit_: tuple[bytes, str]) -> None:
        hub = self._hub
        actor_id, reason = exit_
        hub.executor.actor_left(actor_id, reason)
        hub.links.notify(hub.head, HEAD, ActorExited(actor_id, reason))

    def no_such_actor(self, job: Job) -> Outcome:
        """The outcome of a call to an actor that is not in this process (any more)."""
        return Outcome(
            "error", 0.0, (Value("e", serialize_error(_died(job, self._ended.get(job.invocation.actor_id)))),)
        )


def _died(job: Job, cause: DeathCause | None) -> ActorDiedError:
    name = job.template.name
    return ActorDiedError(cause, actor_id=job.invocation.actor_id, actor_name=name.partition(".")[0], method=name)
