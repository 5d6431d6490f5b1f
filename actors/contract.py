"""The typed calls that processes make to each other's system actors, and the envelopes around user calls.

A process has up to three system actors: "core" (the runtime of a driver or worker), "node" (the node manager) and
"head". A method's name is its struct's name; the struct is the call's body. Answers are structs too.
"""

from typing import Any

import msgspec

from ..transport.address import ProcessAddress

CORE = "core"
NODE = "node"
HEAD = "head"
EXECUTOR = "executor"


class Body(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all bodies are: a frozen struct, encoded as an array."""


def encode(body: Any) -> bytes:
    """Encode a body."""
    return _encoder.encode(body)


def decoder_of(cls: type[Any]) -> msgspec.msgpack.Decoder[Any]:
    """The (cached) decoder of a body's class."""
    found = _decoders.get(cls)
    if found is None:
        found = _decoders[cls] = msgspec.msgpack.Decoder(cls)
    return found


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {}


# --- objects ------------------------------------------------------------------------------------------------------


class Location(Body):
    """Where an object's bytes lie: a range of one node's arena."""

    node_id: bytes
    offset: int
    size: int


class ExportedRef(Body):
    """A ref inside a value, as it crosses a process boundary."""

    object_id: bytes
    owner: ProcessAddress


class Value(Body):
    """A result, an argument or an object's content: inline bytes, or a location, or an error.

    `kind` is "i" (inline: `data` is the pickle), "s" (stored: `location` says where) or "e" (error: `data` is a serialized error).
    `contained` are the refs inside the value.
    """

    kind: str
    data: bytes = b""
    location: Location | None = None
    contained: tuple[ExportedRef, ...] = ()


class Dependency(Body):
    """An argument passed by ref: its value, and the ref itself where the value may have moved by the time it is read."""

    value: Value
    ref: ExportedRef | None = None


class WaitObject(Body):
    """To an owner's core: answer with the object's `Value` when it is ready. `avoid` is a location that turned out to be empty."""

    object_id: bytes
    avoid: Location | None = None


class AddBorrower(Body):
    """To an owner's core: `borrower` holds the object now (`count` times more)."""

    object_id: bytes
    borrower: ProcessAddress
    count: int


class ReleaseBorrow(Body):
    """To an owner's core, from the borrower: it holds the object `count` times less."""

    object_id: bytes
    count: int


# --- running user code --------------------------------------------------------------------------------------------


class Template(Body):
    """What many calls have in common; sent once per channel, before the first call that names it."""

    template_id: int
    kind: str  # "task", "method" or "create"
    name: str
    function_id: bytes
    function: bytes  # the pickled function or class; empty where the receiver has it already
    num_returns: int  # -1: streaming
    options: dict[str, Any]


class Invocation(Body):
    """One run of a template: a task, an actor's construction, or a method call.

    `args` are the pickled arguments, in which `Slot(i)` stands for `dependencies[i]`; large ones lie in the store instead (`stored_args`).
    """

    template_id: int
    task_id: bytes
    args: bytes
    dependencies: tuple[Dependency, ...] = ()
    stored_args: Dependency | None = None
    attempt: int = 0
    actor_id: bytes = b""
    method: str = ""


class Outcome(Body):
    """How an invocation ended.

    `status`: "ok", "error" (the user's code raised: `returns` has one error), "cancelled", or "returned" (never started: given back).
    `borrows` are ids of objects owned by the caller that the worker still holds.
    """

    status: str
    seconds: float
    returns: tuple[Value, ...] = ()
    borrows: tuple[bytes, ...] = ()
    retryable: bool = False


class RecallTasks(Body):
    """To an executor: give back the queued tasks among these that have not started."""

    task_ids: list[bytes]


class CancelTask(Body):
    """To an executor (or, for what the callee submitted in turn, a core): cancel a task."""

    task_id: bytes
    force: bool
    recursive: bool


# --- leases ---------------------------------------------------------------------------------------------------------


class LeaseSpec(Body):
    """What a scheduling class needs of a worker."""

    resources: dict[str, int]  # fixed point, 1/10000
    strategy: dict[str, Any]
    labels: dict[str, str]
    environment: str  # key of the runtime environment
    job_id: bytes


class Demand(Body):
    """To a node manager: the caller could use `wanted` workers of this class, all in all. Absolute, so that it may be repeated."""

    class_key: int
    wanted: int
    version: int
    spec: LeaseSpec
    placed: bool = False
    seen_redirects: int = 0


class LeaseGranted(Body):
    """To a core: a worker of the class is the caller's until it gives the lease back."""

    class_key: int
    lease_id: str
    worker: ProcessAddress
    node: ProcessAddress
    accelerator_ids: dict[str, list[str]]


class LeaseRedirected(Body):
    """To a core: in all, `total` workers of the class are to be asked of another node manager instead."""

    class_key: int
    total: int
    node: ProcessAddress


class LeaseInfeasible(Body):
    """To a core: nothing in the cluster can satisfy the class as things are; `reason` is for people.

    `fatal`: waiting is pointless, its tasks fail. `kind` is "environment" where its runtime environment cannot be made,
    "group" where its placement group was removed.
    """

    class_key: int
    reason: str
    fatal: bool
    kind: str


class ReclaimLease(Body):
    """To a core: somebody waits; give the lease back as soon as nothing runs on it."""

    lease_id: str


class ReturnLease(Body):
    """To a node manager."""

    lease_id: str
    worker_ok: bool


class WorkerBlocked(Body):
    """To a node manager, from a worker: it waits in `get` or `wait` (or no longer does)."""

    blocked: bool


class WorkerLeaving(Body):
    """To a node manager, from a worker: it ends by itself now, and needs no signal."""

    reason: str


class DescribeDeath(Body):
    """To a node manager: why did that process end? Answered with an encoded `DeathCause` when its end is known."""

    process_id: str


# --- the store --------------------------------------------------------------------------------------------------------


class GrantMemory(Body):
    """To a node manager: a range of the arena to write objects to, of at least `size` bytes. Answered with `Granted`."""

    size: int


class Granted(Body):
    """Memory of the arena, the receiver's until it is sealed into objects or given back."""

    grant: int
    offset: int
    size: int


class ReturnMemory(Body):
    """To a node manager: granted memory that was not used. `touched`: it may have been written to."""

    grant: int
    offset: int
    size: int
    touched: bool


class SealedObject(Body):
    """An object that lies complete in the arena."""

    object_id: bytes
    owner: str
    grant: int
    offset: int
    size: int


class ObjectsSealed(Body):
    """To a node manager: these objects are complete."""

    objects: list[SealedObject]


class ReclaimMemory(Body):
    """To a core: give back granted memory that is not used; the store is full."""


class ObjectFreed(Body):
    """To the own node manager, from the owner: nobody needs the object any more, wherever it is."""

    object_id: bytes
    location: Location


class LocateObject(Body):
    """To the own node manager: where is the object now? Restores it from disk, or pulls it from the node of `hint`.

    Answered with a `Location` in the own arena, or with an empty body when that node does not have it.
    """

    object_id: bytes
    owner: ProcessAddress
    hint: Location


# --- actors -------------------------------------------------------------------------------------------------------------


class ActorSpec(Body):
    """What the head needs to know of an actor.

    `placing` must be free where the actor is placed, `running` is what it then holds. `descriptor` and `creation` (a
    `Creation`) are passed on unread; without `has_creation`, the latter follows in `SetCreation`.
    """

    actor_id: bytes
    class_name: str
    name: str
    namespace: str
    detached: bool
    max_restarts: int
    owner: ProcessAddress
    placing: LeaseSpec
    running: LeaseSpec
    light: bool
    descriptor: bytes
    has_creation: bool
    creation: bytes


class SetCreation(Body):
    """To the head: the arguments of an actor's constructor are ready (or `error`: will never be)."""

    actor_id: bytes
    creation: bytes
    error: bytes = b""


class Creation(Body):
    """How to make an actor: a template of kind "create" and its invocation, both encoded."""

    template: bytes
    invocation: bytes


class RegisterActor(Body):
    """To the head: make this actor. Answered with an `ActorFound`: this one, or with `get_if_exists` the one that has the name, or nothing (the name is taken)."""

    spec: ActorSpec
    get_if_exists: bool


class ActorFound(Body):
    """An actor by name or id; `actor_id` is empty when there is none."""

    actor_id: bytes = b""
    descriptor: bytes = b""


class FindActor(Body):
    """To the head: the live actor of that name. Answered with `ActorFound`."""

    name: str
    namespace: str


class ListNamedActors(Body):
    """To the head. Answered with a list of [name, namespace]."""

    namespace: str | None


class WatchActor(Body):
    """To the head: tell this core of every change of an actor (`ActorChanged`), beginning with its present state."""

    actor_id: bytes


class ActorChanged(Body):
    """To a core: what became of an actor. `state`: "pending", "alive", "restarting" or "dead".

    `cause` is an encoded error when dead. `incarnation` counts its starts; a late message of an earlier one is ignored.
    """

    actor_id: bytes
    state: str
    incarnation: int
    address: ProcessAddress | None
    node: ProcessAddress | None
    cause: bytes
    name: str = ""


class KillActor(Body):
    """To the head: end an actor at once."""

    actor_id: bytes
    no_restart: bool


class ActorUnreferenced(Body):
    """To the head, from its owner: no handle is left. The actor ends after the calls it has, also those still to be sent."""

    actor_id: bytes
    calls_pending: bool


class EndActor(Body):
    """To the executor that hosts an actor: end it after the calls it has."""

    actor_id: bytes


class ActorExited(Body):
    """To the head, from the actor's host: it ended itself on purpose."""

    actor_id: bytes
    reason: str


# --- processes and the cluster --------------------------------------------------------------------------------------------


class WorkerConfig(Body):
    """What a worker process is started with. `environment` is a runtime environment's key, `packages` where its packages are unpacked."""

    process_id: str
    host_id: str
    node_id: bytes
    token: bytes
    socket: str
    node: ProcessAddress
    head: ProcessAddress
    arena: bytes
    session: str
    session_folder: str
    labels: dict[str, str]
    environment: str
    packages: dict[str, str]


class WorkerReady(Body):
    """To the node manager, from a worker: it listens."""

    process_id: str
    address: ProcessAddress


class AssignWorker(Body):
    """To a worker's core: what it is leased for, before the first invocation that comes with the lease."""

    job_id: bytes
    namespace: str
    resources: dict[str, int]
    accelerator_ids: dict[str, list[str]]
    placement_group: bytes
    capture: bool
    incarnation: int


class RegisterDriver(Body):
    """To the node manager, from a driver. Answered with `DriverRegistered`."""

    address: ProcessAddress
    job_id: bytes
    namespace: str
    log_to_driver: bool


class DriverRegistered(Body):
    """What a driver needs to know of the node it is on."""

    node_id: bytes
    head: ProcessAddress
    arena: bytes
    session: str
    session_folder: str
    labels: dict[str, str]


class QueryState(Body):
    """To the head: a part of the cluster's state, as in `Runtime.state`. Answered with JSON-like msgpack."""

    kind: str


class OutputLines(Body):
    """To a driver's core: lines that its workers printed."""

    batch: bytes


class CreateGroup(Body):
    """To the head: reserve a placement group. Answered at once: with an empty body, or the encoded error of a refusal.

    `owner` is the process with which a group that is not detached ends; "": the driver of the job.
    """

    group_id: bytes
    bundles: list[dict[str, int]]
    strategy: str
    name: str
    namespace: str
    detached: bool
    job_id: bytes
    owner: str


class AwaitGroup(Body):
    """To the head. Answered when the placement group is reserved (with an empty body), or is gone (an encoded error)."""

    group_id: bytes


class RemoveGroup(Body):
    """To the head: give a placement group's resources back. Answered (with an empty body) when it is done there."""

    group_id: bytes


class FindGroup(Body):
    """To the head: a placement group by name. Answered with `GroupFound`."""

    name: str
    namespace: str


class GroupFound(Body):
    """A placement group; the id is empty where there is none."""

    group_id: bytes = b""
    bundles: list[dict[str, int]] = []
