"""What the head remembers of actors, as plain values that can be stored, and what it hears and says about them."""

from typing import Literal

import msgspec

from ...transport.address import ProcessAddress
from .lease_message import (
    ReleaseWorker,
    RequestedWorkerLost,
    RequestWorker,
    WorkerGranted,
    WorkerRefused,
    WorkersHeld,
)
from .resources import EMPTY, ResourceSet
from .strategy import LeaseSpec

ActorState = Literal["DEPENDENCIES_UNREADY", "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD"]
DeathKind = Literal[
    "constructor_failed",
    "worker_died",
    "node_died",
    "owner_died",
    "killed",
    "out_of_scope",
    "exited",
    "unschedulable",
    "environment_failed",
]

INFINITE = -1
"""`max_restarts` without a limit."""


class Struct(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events, commands and values: frozen, so never in a cycle, and nothing for the garbage collector to look at."""


class DeathCause(Struct, frozen=True):
    """Why an actor ended; `error` is what its constructor or process left, carried as it came and not opened here."""

    kind: DeathKind
    text: str
    error: bytes = b""


class ActorSpec(Struct, frozen=True):
    """What is registered of an actor; never changes.

    Attributes:
        owner: process id of its creator; a non-detached actor ends with it.
        home: the owner's node, preferred among equals.
        max_restarts: how often it is started again after its process or node died; -1 for always.
        lease: what it holds while it lives.
        placement: what its node must have free when it is placed.
        creation: the constructor call, opened only by the worker.
        ready: false while arguments of the constructor are still being made; see `DependenciesReady`.
    """

    actor_id: bytes
    class_name: str
    owner: str
    lease: LeaseSpec
    placement: ResourceSet = EMPTY
    name: str = ""
    namespace: str = ""
    detached: bool = False
    max_restarts: int = 0
    home: str = ""
    creation: bytes = b""
    ready: bool = True


class ActorRecord(msgspec.Struct, array_like=True):
    """An actor's row in the table.

    Attributes:
        incarnation: 0 at first, one more with each restart; every message of a worker names the one it is about.
        attempt: counts requests for a worker; part of `request_id`.
        request_id: the request that is open or was granted; "" while none is.
        worker_id: "" until a worker was granted.
        ending: it is to end without a restart, for this reason.
        problem: why it cannot be placed now, for people.
        locality: (node id, bytes of the constructor's large arguments that lie there), largest first.
        spared: restarts that do not count against `max_restarts`, since its node was drained.
        kills: the latest requests to kill it and start it again: each is said until somebody answers, but meant once.
    """

    spec: ActorSpec
    state: ActorState = "PENDING_CREATION"
    incarnation: int = 0
    attempt: int = 0
    request_id: str = ""
    node_id: str = ""
    worker_id: str = ""
    devices: dict[str, list[int]] = {}
    address: ProcessAddress | None = None
    ending: DeathCause | None = None
    cause: DeathCause | None = None
    problem: str = ""
    spared: int = 0
    locality: tuple[tuple[str, int], ...] = ()
    kills: tuple[bytes, ...] = ()


class ActorTable(msgspec.Struct, array_like=True):
    """The whole state of the actor directory."""

    actors: dict[bytes, ActorRecord] = {}


class ActorView(Struct, frozen=True):
    """An actor as others see it."""

    actor_id: bytes
    class_name: str
    name: str
    namespace: str
    state: ActorState
    incarnation: int
    node_id: str
    worker_id: str
    address: ProcessAddress | None
    cause: DeathCause | None
    problem: str


def view_of(record: ActorRecord) -> ActorView:
    """The public part of a row."""
    spec = record.spec
    return ActorView(
        spec.actor_id,
        spec.class_name,
        spec.name,
        spec.namespace,
        record.state,
        record.incarnation,
        record.node_id,
        record.worker_id,
        record.address,
        record.cause,
        record.problem,
    )


# Events

NodeAnswer = WorkerGranted | WorkerRefused | RequestedWorkerLost | WorkersHeld


class RegisterActor(Struct, frozen=True, tag="register"):
    """Create an actor, or (`get_if_exists`) find the one of its name. Idempotent by actor id."""

    spec: ActorSpec
    get_if_exists: bool = False


class DependenciesReady(Struct, frozen=True, tag="ready"):
    """The constructor's arguments are there. `locality`: see `ActorRecord`."""

    actor_id: bytes
    locality: tuple[tuple[str, int], ...] = ()


class FromNode(Struct, frozen=True, tag="from_node"):
    """A node's answer about a worker."""

    node_id: str
    message: NodeAnswer


class ActorCreated(Struct, frozen=True, tag="created"):
    """The constructor returned; the actor can be called at `address`."""

    actor_id: bytes
    incarnation: int
    address: ProcessAddress


class ActorCreationFailed(Struct, frozen=True, tag="creation_failed"):
    """The constructor raised."""

    actor_id: bytes
    incarnation: int
    cause: DeathCause


class ActorExited(Struct, frozen=True, tag="exited"):
    """The actor ended by its own will (`exit_actor`) or by `TerminateActor`: no restart."""

    actor_id: bytes
    incarnation: int
    cause: DeathCause


class KillActor(Struct, frozen=True, tag="kill"):
    """End the actor's process at once; with `no_restart` for good. The same `request` is meant once."""

    actor_id: bytes
    no_restart: bool = True
    text: str = "it was passed to limelight.kill()"
    request: bytes = b""


class HandlesGone(Struct, frozen=True, tag="handles_gone"):
    """Nobody has a handle any more. With `calls_pending`, one that has not started still starts and ends after them."""

    actor_id: bytes
    calls_pending: bool = False


class OwnerLost(Struct, frozen=True, tag="owner_lost"):
    """A process is gone: what it owns ends, and it listens no more."""

    process_id: str
    text: str


class ActorNodeLost(Struct, frozen=True, tag="actor_node_lost"):
    """A node is gone, and all its workers."""

    node_id: str
    text: str


class DrainActors(Struct, frozen=True, tag="drain_actors"):
    """A node is to be drained: actors that may restart do so elsewhere, as soon as there is room for them.

    Those that may not stay until the node ends.
    """

    node_id: str
    text: str


class Subscribe(Struct, frozen=True, tag="subscribe"):
    """Tell the process of the actor's state, now and at every change."""

    process_id: str
    actor_id: bytes


class PlaceActors(Struct, frozen=True, tag="place_actors"):
    """Room may have come free on a node ("": on any, or time has passed): try again for those that wait."""

    node_id: str = ""


ActorEvent = (
    RegisterActor
    | DependenciesReady
    | FromNode
    | ActorCreated
    | ActorCreationFailed
    | ActorExited
    | KillActor
    | HandlesGone
    | OwnerLost
    | ActorNodeLost
    | DrainActors
    | Subscribe
    | PlaceActors
)


# Commands


class ActorRegistered(Struct, frozen=True, tag="registered"):
    """The answer to `RegisterActor`: the actor (`view.actor_id` differs where it existed), or why not (`error`)."""

    process_id: str
    actor_id: bytes
    view: ActorView | None
    error: str = ""


class ActorChanged(Struct, frozen=True, tag="changed"):
    """To a subscriber. Of two, the one with the higher incarnation is newer; within one, states only go forward."""

    process_id: str
    view: ActorView


class ToLeaseMachine(Struct, frozen=True, tag="to_lease"):
    """Deliver this to the node's lease machine; the answer comes back as `FromNode`."""

    node_id: str
    event: RequestWorker | ReleaseWorker


class CreateActor(Struct, frozen=True, tag="create"):
    """Tell the worker to run the constructor. Idempotent by actor id and incarnation."""

    node_id: str
    worker_id: str
    actor_id: bytes
    incarnation: int
    creation: bytes
    devices: dict[str, list[int]]


class TerminateActor(Struct, frozen=True, tag="terminate"):
    """Tell the worker to end the actor after the calls that are queued; answered by `ActorExited`."""

    node_id: str
    worker_id: str
    actor_id: bytes
    incarnation: int


ActorCommand = ActorRegistered | ActorChanged | ToLeaseMachine | CreateActor | TerminateActor
