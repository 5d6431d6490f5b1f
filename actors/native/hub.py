"""The centre of a driver or worker: its parts, and where what arrives for them goes."""

import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import msgspec

from ...exceptions import (
    ActorDiedError,
    DeathCause,
    DeathKind,
    ObjectFreedError,
    RaySystemError,
)
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.endpoint import Endpoint
from ...transport.error import RemoteCallError, TransportError
from ...transport.protocol import Call, Cancel, Credit, Reply
from .. import accelerator, runtime
from ..contract import (
    EXECUTOR,
    HEAD,
    NODE,
    ActorChanged,
    ActorExited,
    ActorUnreferenced,
    AddBorrower,
    AssignWorker,
    AwaitGroup,
    DriverRegistered,
    LeaseGranted,
    LeaseInfeasible,
    LeaseRedirected,
    ObjectCopied,
    Outcome,
    OutputLines,
    ReclaimLease,
    ReleaseBorrow,
    SetCreation,
    Value,
    WaitObject,
    WatchActor,
    WorkerBlocked,
    WorkerLeaving,
    decoder_of,
    encode,
)
from ..ids import IdSource
from ..object_ref import ObjectRef
from ..serialization import deserialize_error, serialize_error
from . import job_setup
from .actor_client import ActorClient
from .entry import FAILED, INLINE, PENDING, ObjectEntry
from .execution import Execution
from .executor import Executor, Host
from .identity import Identity
from .latch import Latch
from .links import Links
from .node_loss import NodeLoss
from .object_table import ObjectTable
from .recovery import Recovery, forget_lineage
from .running import Job, running
from .streaming import Streaming
from .submission import Submission, WorkerLink
from .task_record import TaskRecord
from .values import Values
from .wire import WireThread

logger = logging.getLogger(__name__)

_BLOCKED_AFTER_S = 0.005
"""A worker that waits longer than this gives its CPU back; shorter waits are not worth the messages."""


class Hub:
    """One per process. Its state belongs to the wire thread, unless a method says otherwise.

    It is the actor "core" of its process, and in workers also hosts the actor "executor".

    Attributes:
        giving_way: around a wait on a thread that others could use meanwhile.
        captured: the placement group that what runs here puts its own tasks and actors into; b"": none.
    """

    def __init__(self, identity: Identity, store: Any) -> None:
        self.identity = identity
        self.process_id = identity.process_id
        self.node = identity.node
        self.head = identity.head
        self.wire = WireThread()
        self.ids = IdSource()
        self.job_id = b""
        self.assignment = AssignWorker(b"", "", {}, {}, b"", False, 0)
        self.captured = b""
        self.store = store
        self.table = ObjectTable(self.wire, store.free, forget_lineage)
        self.values = Values(self)
        self.recovery = Recovery(self)
        self.submission = Submission(self)
        self.actors: dict[bytes, ActorClient] = {}
        self.environments: Any = None
        self.runtime_env: dict[str, Any] = {}
        self.namespace = identity.namespace
        self._creations: dict[bytes, TaskRecord] = {}
        self.execution = Execution(self)
        self.streaming = Streaming(self)
        self.executor: Executor = None  # type: ignore[assignment] - workers get theirs in `serve`
        self.on_output: Callable[[bytes], Coroutine[Any, Any, None]] | None = None
        self.announce: Callable[[str], None] = _name_nothing
        self.finish_lines: Callable[[], None] = _nothing
        self.node_loss = NodeLoss(self)
        self.on_node_lost: Callable[[TransportError], None] = self.node_loss.noticed
        self.warn: Callable[[str], None] = logger.warning
        self.leave: Callable[[], None] = _nothing
        self.giving_way: Callable[[], AbstractContextManager[None]] = nullcontext
        self._blocked = 0
        self._worker_links: dict[str, WorkerLink] = {}
        self._methods: dict[str, Callable[[Channel, Call], None]] = {
            "WaitObject": self._on_wait_object,
            "AddBorrower": self._on_add_borrower,
            "ReleaseBorrow": self._on_release_borrow,
            "LeaseGranted": lambda _, call: self.submission.lease_granted(decoder_of(LeaseGranted).decode(call.body)),
            "LeaseRedirected": lambda _, call: self.submission.lease_redirected(
                decoder_of(LeaseRedirected).decode(call.body)
            ),
            "LeaseInfeasible": lambda _, call: self.submission.lease_infeasible(
                decoder_of(LeaseInfeasible).decode(call.body)
            ),
            "ReclaimLease": lambda _, call: self.submission.reclaim(
                decoder_of(ReclaimLease).decode(call.body).lease_id
            ),
            "ObjectCopied": lambda _, call: self.recovery.copied(decoder_of(ObjectCopied).decode(call.body)),
            "ActorChanged": self._on_actor_changed,
            "AssignWorker": self._on_assign,
            "OutputLines": self._on_output,
            "ReclaimMemory": lambda _channel, _call: self.store.give_back(),
        }

    # --- life (any thread but the wire's) ---

    def start(self) -> ProcessAddress:
        """Listen, and connect to the node manager.

        Raises:
            TransportError: the node manager cannot be reached, or refuses.
        """
        self.wire.start()
        return self.wire.run(self._start())

    async def _start(self) -> ProcessAddress:
        identity = self.identity
        self.endpoint = Endpoint(
            process_id=identity.process_id,
            host_id=identity.host_id,
            token=identity.token,
            unix_path=identity.socket,
            info={
                "kind": "driver" if identity.is_driver else "worker",
                "pid": str(os.getpid()),
                "node": identity.node_id.hex(),
            },
            handler=self,
        )
        await self.endpoint.start()
        self.links = Links(self.endpoint)
        self.address = self.endpoint.address
        self.table.attach(self.links, self.address)
        await self.endpoint.connect(self.node)
        return self.address

    def joined(self, registered: DriverRegistered) -> None:
        """The node manager has told what it is part of."""
        self.head = registered.head
        self.identity = msgspec.structs.replace(
            self.identity,
            node_id=registered.node_id,
            head=registered.head,
            session=registered.session,
            session_folder=registered.session_folder,
            node_labels=registered.labels,
        )

    def serve(self, tasks: Host) -> None:
        """Take invocations, and give tasks to `tasks`."""
        self.executor = Executor(self, tasks)

    def stop(self) -> None:
        """Close all channels and end the wire thread."""
        self.wire.run(self._stop())
        self.wire.stop()

    async def _stop(self) -> None:
        self.on_node_lost = None  # it is this process that leaves
        await self.links.close()
        await self.endpoint.close()

    def now(self) -> float:
        """Time of the wire thread's loop, in seconds."""
        return self.wire.loop.time()

    # --- ChannelHandler ---

    def on_connected(self, channel: Channel) -> None:
        """A process has dialled this one, or was dialled."""

    def on_call(self, channel: Channel, call: Call) -> None:
        """Hand a call to the actor it is for."""
        if call.actor == EXECUTOR:
            self.executor.on_call(channel, call)
        else:
            self._methods[call.method](channel, call)

    def on_cancel(self, channel: Channel, cancel: Cancel) -> None:
        """Requests between cores are short; there is nothing to cancel."""

    def on_credit(self, channel: Channel, credit: Credit) -> None:
        """A consumer has taken items of a generator that runs here."""
        for job in list(self.executor.started.values()):
            if job.channel is channel and job.call_id == credit.call_id:
                self.streaming.opened(job, credit.count)

    def on_lost(self, channel: Channel, error: Any) -> None:
        """A process is gone."""
        process_id = channel.peer.process_id
        self.table.borrower_lost(process_id)
        self._worker_links.pop(process_id, None)
        self.submission.process_lost(process_id)
        if self.executor is not None:  # type: ignore[comparison-overlap]
            self.executor.on_lost(channel)
        if process_id == self.node.process_id:
            self.on_node_lost(error)

    # --- waiting (user threads) ---

    def wait_ready(self, refs: list[ObjectRef[Any]], needed: int, timeout: float | None, fail_fast: bool) -> bool:
        """Block until `needed` of the refs are ready; False when `timeout` seconds have gone before."""
        pending: list[ObjectEntry] = []
        for ref in refs:
            entry: ObjectEntry = ref._entry
            if entry.state == PENDING:
                pending.append(entry)
        needed -= len(refs) - len(pending)
        if needed <= 0:
            return True
        latch = Latch(needed, fail_fast)
        latch.put_on(pending)
        borrowed = [entry for entry in pending if entry.owner is not None]
        if borrowed:
            self.wire.post(self._fetch_all, borrowed)
        if self.identity.is_driver or running.get() is None:
            return latch.wait(timeout)
        first = _BLOCKED_AFTER_S if timeout is None else min(timeout, _BLOCKED_AFTER_S)
        if latch.wait(first):
            return True
        with self.blocked():
            return latch.wait(None if timeout is None else timeout - first)

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Around a wait in a task: its CPU can be used by others meanwhile."""
        self.wire.post(self._block, 1)
        try:
            with self.giving_way():
                yield
        finally:
            self.wire.post(self._block, -1)

    def _block(self, change: int) -> None:
        before = self._blocked > 0
        self._blocked += change
        after = self._blocked > 0
        if before != after:
            self.links.notify(self.node, NODE, WorkerBlocked(after))

    def _fetch_all(self, entries: list[ObjectEntry]) -> None:
        for entry in entries:
            self.table.fetch(entry)

    def get_one(self, ref: ObjectRef[Any]) -> Any:
        """Wait for one ref and read it."""
        self.wait_ready([ref], 1, None, fail_fast=True)
        return self.values.read(ref)

    def ask(self, address: ProcessAddress, actor: str, body: Any, timeout: float | None = None) -> bytes:
        """Call a system actor and wait for its answer.

        Raises:
            LocalRayletDiedError: the node process of this session is gone.
            TransportError: there will be none.
            RayError: what the actor says.
        """
        try:
            return self.wire.run(self._ask(address, actor, body, timeout))
        except TransportError:
            self.node_loss.check()
            raise

    async def _ask(self, address: ProcessAddress, actor: str, body: Any, timeout: float | None) -> bytes:
        channel = await self.endpoint.connect(address)
        try:
            return await channel.request(actor, type(body).__name__, encode(body), timeout or 3600.0)
        except RemoteCallError as error:
            raise deserialize_error(error.body) from None

    # --- objects ---

    def lend_result(self, result: tuple[list[Any], ProcessAddress]) -> None:
        """Refs leave in a result."""
        self.table.lend_result(*result)

    def _on_wait_object(self, channel: Channel, call: Call) -> None:
        request: WaitObject = decoder_of(WaitObject).decode(call.body)
        entry = self.table.find(request.object_id)
        if entry is None:
            error = ObjectFreedError(
                request.object_id.hex(), reason="its owner has freed it, as nobody held it any more"
            )
            channel.reply(call.call_id, encode(Value("e", serialize_error(error))))
            return
        if request.avoid is not None:
            self.recovery.recover(entry, request.avoid)

        def ready(entry: ObjectEntry) -> None:
            channel.reply(call.call_id, encode(entry.value()))

        if not entry.when_ready(ready):
            ready(entry)

    def _on_add_borrower(self, channel: Channel, call: Call) -> None:
        request: AddBorrower = decoder_of(AddBorrower).decode(call.body)
        entry = self.table.find(request.object_id)
        if entry is not None:
            self.table.lend(entry, request.borrower, request.count)
            if request.borrower.process_id != channel.peer.process_id:
                self._watch(request.borrower)
        channel.reply(call.call_id, b"")

    def _watch(self, borrower: ProcessAddress) -> None:
        """Hold a channel to a borrower that somebody else registered, so as to learn of its death."""

        def connected(result: Channel | TransportError) -> None:
            if isinstance(result, TransportError):
                self.table.borrower_lost(borrower.process_id)

        self.links.connected(borrower, connected)

    def _on_release_borrow(self, channel: Channel, call: Call) -> None:
        release: ReleaseBorrow = decoder_of(ReleaseBorrow).decode(call.body)
        entry = self.table.find(release.object_id)
        if entry is not None:
            self.table.lend(entry, channel.peer, -release.count)

    def answer_holding(self, answer: tuple[Job, Outcome, list[ObjectEntry]]) -> None:
        """Send an outcome after the owners of refs that stay in this process have been told."""
        job, outcome, imports = answer
        caller = job.channel.peer.process_id
        held = self.table.still_held(imports)
        borrows = tuple(entry.object_id for entry in held if entry.owner and entry.owner.process_id == caller)
        others = [entry for entry in held if entry.owner and entry.owner.process_id != caller]
        waiting = len(others)
        if borrows:
            outcome = msgspec.structs.replace(outcome, borrows=borrows)

        def registered() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                job.channel.reply(job.call_id, encode(outcome))

        for entry in others:
            self.table.register(entry, self.address, None, registered)
        if not others:
            job.channel.reply(job.call_id, encode(outcome))

    # --- actors ---

    def client(self, actor_id: bytes, name: str) -> ActorClient:
        """The client of an actor; made, and the head asked to keep it informed, when there is none yet. From any thread."""
        client = self.actors.get(actor_id)
        if client is None:
            client = self.actors[actor_id] = ActorClient(self, actor_id, name)
            self.wire.post(self._watch_actor, actor_id)
        return client

    def _watch_actor(self, actor_id: bytes) -> None:
        if self.node_loss:
            self.actors[actor_id].node_lost(serialize_error(self.node_loss.error()))
            return
        self.links.notify(self.head, HEAD, WatchActor(actor_id))

    def _on_actor_changed(self, _: Channel, call: Call) -> None:
        change: ActorChanged = decoder_of(ActorChanged).decode(call.body)
        client = self.actors.get(change.actor_id)
        if client is not None:
            client.changed(change)

    def worker_link(self, channel: Channel, node: ProcessAddress | None) -> WorkerLink:
        """What this process has told an executing process so far."""
        link = self._worker_links.get(channel.peer.process_id)
        if link is None or link.channel is not channel:
            link = self._worker_links[channel.peer.process_id] = WorkerLink(channel, node or self.node)
        return link

    def actor_name(self, actor_id: bytes) -> str:
        """The name of an actor that this process hosts; "" where it has none."""
        hosted = self.executor.hosted(actor_id)
        return hosted.name if hosted is not None else ""

    def own_actor(self, actor_id: bytes) -> Any:
        """The entry of an actor that this process hosts, for a handle to itself."""
        hosted = self.executor.hosted(actor_id)
        return None if hosted is None else runtime.current().import_actor(actor_id, hosted.outline, None)

    def keep_creation(self, actor_id: bytes, record: TaskRecord) -> None:
        """Hold what an actor's constructor needs as long as the actor may be (re)started."""
        self._creations[actor_id] = record

    def forget_creation(self, actor_id: bytes) -> None:
        """The actor is dead for good."""
        self._creations.pop(actor_id, None)

    def creation_ready(self, actor_id: bytes, creation: bytes) -> None:
        """The arguments of an actor's constructor are there."""
        self.links.notify(self.head, HEAD, SetCreation(actor_id, creation))

    def actor_unreferenced(self, actor_id: bytes) -> None:
        """No handle of an actor that this process created is left anywhere."""
        client = self.actors.get(actor_id)
        pending = client is not None and client.pending_calls > 0
        self.links.notify(self.head, HEAD, ActorUnreferenced(actor_id, pending))

    def actor_exits(self, job: Job, reason: str) -> Outcome:
        """The actor that runs a job ends itself: tell the head, and end when the outcome is out."""
        actor_id = job.invocation.actor_id
        cause = DeathCause(DeathKind.INTENDED_EXIT, reason, pid=os.getpid(), node_id=self.identity.node_id.hex())
        error = self._actor_error(job, cause)
        self.executor.drop_actor(actor_id)  # at once: the next call in the queue must not run
        self.wire.post(self._actor_exited, (actor_id, reason))
        return Outcome("error", 0.0, (Value("e", serialize_error(error)),))

    def _actor_exited(self, exit_: tuple[bytes, str]) -> None:
        actor_id, reason = exit_
        self.executor.actor_left(actor_id, reason)
        self.links.notify(self.head, HEAD, ActorExited(actor_id, reason))

    def await_group(self, wait: tuple[AwaitGroup, ObjectEntry, bytes]) -> None:
        """Have an entry become ready with a placement group."""
        body, entry, done = wait

        def answered(reply: Reply | TransportError) -> None:
            if isinstance(reply, TransportError):
                entry.complete(FAILED, serialize_error(RaySystemError(f"The head cannot be reached: {reply}")))
            elif reply.body:
                entry.complete(FAILED, reply.body)
            else:
                entry.complete(INLINE, done)

        self.links.ask(self.head, HEAD, body, answered)

    # --- executing ---

    def environment_key(self, runtime_env: dict[str, Any]) -> str:
        """Names the runtime environment that tasks with this `runtime_env` need; "" is the default one."""
        return self.environments.key(runtime_env)

    def whereabouts(self, job: Job) -> dict[str, Any]:
        """Where a failure happened, for its error."""
        return {
            "function_name": job.template.name,
            "pid": os.getpid(),
            "node_id": self.identity.node_id.hex(),
            "actor_id": job.invocation.actor_id.hex() or None,
        }

    def _on_assign(self, channel: Channel, call: Call) -> None:
        self.assignment = decoder_of(AssignWorker).decode(call.body)
        self.job_id = self.assignment.job_id
        self.captured = self.assignment.placement_group if self.assignment.capture else b""
        self.namespace = self.assignment.namespace
        assigned = self.assignment
        job_setup.adopt(assigned.folder, assigned.search_path, self.runtime_env)
        accelerator.restrict(os.environ, assigned.accelerator_ids.get("GPU", []))
        channel.reply(call.call_id, b"")

    def _on_output(self, channel: Channel, call: Call) -> None:
        self.links.spawn(self._show(channel, call))

    async def _show(self, channel: Channel, call: Call) -> None:
        """Show lines, then answer: the next ones come only then, so that a slow terminal slows nothing but itself."""
        try:
            if self.on_output is not None:
                await self.on_output(decoder_of(OutputLines).decode(call.body).batch)
        finally:
            channel.reply(call.call_id, b"")

    def no_such_actor(self, job: Job) -> Outcome:
        """The outcome of a call to an actor that is not in this process (any more)."""
        return Outcome("error", 0.0, (Value("e", serialize_error(self._actor_error(job, None))),))

    def process_exits(self, reason: str) -> None:
        """The process ends by itself, so that its atexit handlers run: tell the node manager why. From any thread."""
        self.links.notify(self.node, NODE, WorkerLeaving(reason))

    @staticmethod
    def _actor_error(job: Job, cause: DeathCause | None) -> ActorDiedError:
        name = job.template.name
        return ActorDiedError(
            cause, actor_id=job.invocation.actor_id, actor_name=name.partition(".")[0], method=name
        )

    @staticmethod
    def death_cause(reply: Reply | TransportError) -> DeathCause | None:
        """What a node manager says of a process's end; when it says nothing, it is lost itself."""
        if isinstance(reply, TransportError):
            return DeathCause(DeathKind.NODE_LOST, str(reply))
        if reply.failed or not reply.body:
            return None
        return _death_decoder.decode(reply.body)


def _name_nothing(_name: str) -> None:
    """A driver's process keeps the title it has."""


def _nothing() -> None:
    """A driver leaves when its script does."""


_death_decoder = msgspec.msgpack.Decoder(DeathCause)
