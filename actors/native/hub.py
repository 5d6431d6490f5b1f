"""The centre of a driver or worker: its parts, and where what arrives for them goes."""

import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from ...exceptions import (
    DeathCause,
    DeathKind,
)
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.endpoint import Endpoint
from ...transport.error import RemoteCallError, TransportError
from ...transport.protocol import Call, Cancel, Credit, Reply
from .. import accelerator
from ..contract import (
    EXECUTOR,
    HEAD,
    NODE,
    AssignWorker,
    DriverRegistered,
    GroupPending,
    HeadNotice,
    LeaseGranted,
    LeaseInfeasible,
    LeaseRedirected,
    NodesGone,
    OutputLines,
    ReclaimLease,
    WorkerLeaving,
    decoder_of,
    encode,
)
from ..ids import IdSource
from ..serialization import deserialize_error
from . import job_setup
from .actor_roster import ActorRoster
from .borrowing import Borrowing
from .completion import Completion
from .directory import Directory
from .entrusted_object import adopt
from .execution import Execution
from .executor import Executor, TaskHost
from .forked import guard
from .group_wait import GroupWaits
from .holding import Holding
from .identity import Identity
from .lineage import Lineage
from .links import Links
from .node_loss import NodeLoss
from .object_table import ObjectTable
from .orphan import Orphans
from .prefetch import Prefetch
from .recovery import Recovery
from .running import Job
from .streaming import Streaming
from .submission import Submission
from .unseen_error import UnseenErrors
from .values import Values
from .waiting import Waiting
from .wire import WireThread
from .worker_link import WorkerLink

_MOST_GONE = 1000

logger = logging.getLogger(__name__)


class Hub:
    """One per process. Its state belongs to the wire thread, unless a method says otherwise.

    It is the actor "core" of its process, and in workers also hosts the actor "executor".

    Attributes:
        captured: the placement group that what runs here puts its own tasks and actors into; b"": none.
        gone_nodes: ids, in hexadecimal, of the last nodes that the cluster has given up.
    """

    def __init__(self, identity: Identity, store: Any, wire: WireThread | None = None) -> None:
        self.identity = identity
        self.process_id = identity.process_id
        self.node = identity.node
        self.head = identity.node
        self.wire = wire or WireThread()
        self.ids = IdSource()
        self.job_id = b""
        self.assignment = AssignWorker(b"", "", {}, {}, b"", False, 0)
        self.captured = b""
        self.gone_nodes: dict[str, None] = {}
        self.store = store
        self.lineage = Lineage()
        self.table = ObjectTable(self.wire, store.free, self.lineage.freed)
        self.table.is_kept, self.lineage.table = self.lineage.keeps, self.table
        self.borrowing = Borrowing(self)
        self.values = Values(self)
        self.unseen = UnseenErrors(self.table)
        self.group_waits = GroupWaits(lambda body, answer: self.links.ask(self.head, HEAD, body, answer))
        self.waiting = Waiting(self)
        self.holding = Holding(self)
        self.recovery = Recovery(self)
        self.prefetch = Prefetch(self)
        self.directory = Directory(self.table.find, self.store.free, self.recovery.recover)
        self.orphans = Orphans(self)
        self.completion = Completion(self)
        self.submission = Submission(self)
        self.actors = ActorRoster(self)
        self.environments: Any = None
        self.runtime_env: dict[str, Any] = {}
        self.namespace = identity.namespace
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
        self.forked = False  # this is a copy of it in a child that user code forked
        self._worker_links: dict[str, WorkerLink] = {}
        self._methods: dict[str, Callable[[Channel, Call], None]] = {
            "WaitObject": self.borrowing.on_wait_object,
            "AddBorrower": self.borrowing.on_add_borrower,
            "AskTaken": self.borrowing.hand_overs.on_ask_taken,
            "AdoptObject": lambda channel, call: adopt(self, channel, call),
            "ReleaseBorrow": self.borrowing.on_release_borrow,
            "LeaseGranted": lambda _, call: self.submission.lease_granted(decoder_of(LeaseGranted).decode(call.body)),
            "LeaseRedirected": lambda channel, call: self.submission.lease_redirected(
                decoder_of(LeaseRedirected).decode(call.body), channel.peer
            ),
            "LeaseInfeasible": lambda _, call: self.submission.lease_infeasible(
                decoder_of(LeaseInfeasible).decode(call.body)
            ),
            "GroupPending": lambda _, call: self._warn_of_group(decoder_of(GroupPending).decode(call.body)),
            "ReclaimLease": lambda _, call: self.submission.reclaim(
                decoder_of(ReclaimLease).decode(call.body).lease_id
            ),
            "FindSource": self.directory.on_find_source,
            "ObjectCopied": self.directory.on_copied,
            "CopyDropped": self.directory.on_dropped,
            "PullEnded": self.directory.on_pull_ended,
            "WriterLost": self.orphans.on_writer_lost,
            "ActorChanged": self.actors.on_changed,
            "HeadReplaced": self.actors.on_head_replaced,
            "HeadNotice": lambda _, call: self.warn(decoder_of(HeadNotice).decode(call.body).text),
            "HoldSubmissions": self.holding.on_hold,
            "NodesGone": self._on_nodes_gone,
            "AssignWorker": self._on_assign,
            "OutputLines": self._on_output,
            "FlushTimeline": self.execution.recorder.on_flush,
            "ReclaimMemory": lambda _channel, _call: self.store.give_back(),
            "TellSealed": self._on_tell_sealed,
        }

    # --- life (any thread but the wire's) ---

    def start(self) -> ProcessAddress:
        """Listen, and connect to the node manager.

        Raises:
            TransportError: the node manager cannot be reached, or refuses.
        """
        guard(self)
        self.wire.start()
        return self.wire.run(self._start())

    async def _start(self) -> ProcessAddress:
        identity = self.identity
        self.endpoint = Endpoint(
            process_id=identity.process_id,
            host_id=identity.host_id,
            token=identity.token,
            unix_path=identity.socket,
            gate=identity.gate,
            tls=identity.tls,
            info={
                "kind": "driver" if identity.is_driver else "worker",
                "pid": str(os.getpid()),
                "node": identity.node_id.hex(),
            },
            handler=self,
        )
        await self.endpoint.start()
        self.links = Links(self.endpoint, self)
        self.address = self.endpoint.address
        self.table.attach(self.address)
        await self.endpoint.connect(self.node)
        return self.address

    def joined(self, registered: DriverRegistered) -> None:
        """The node manager has told what it is part of."""
        self.identity = msgspec.structs.replace(
            self.identity,
            node_id=registered.node_id,
            cluster=registered.cluster,
            session=registered.session,
            session_folder=registered.session_folder,
            node_labels=registered.labels,
        )

    def serve(self, tasks: TaskHost) -> None:
        """Take invocations, and give tasks to `tasks`."""
        self.executor = Executor(self, tasks)

    def stop(self) -> None:
        """Close all channels and end the wire thread."""
        self.wire.run(self._stop())
        self.wire.stop()

    async def _stop(self) -> None:
        self.on_node_lost = _leave_quietly
        self.node_loss.ended()
        self.store.leave()
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
        self.borrowing.process_lost(process_id)
        self.directory.process_lost(process_id)
        self._worker_links.pop(process_id, None)
        self.submission.process_lost(channel)
        self.orphans.process_lost(process_id)
        if self.executor is not None:  # type: ignore[comparison-overlap]
            self.executor.on_lost(channel)
        if process_id == self.node.process_id:
            self.on_node_lost(error)

    def ask(
        self, address: ProcessAddress, actor: str, body: Any, timeout: float | None = None, abandon: bool = False
    ) -> bytes:
        """Call a system actor and wait for its answer.

        `abandon`: cancel the call if this thread is interrupted (Ctrl-C).

        Raises:
            LocalRayletDiedError: the node process of this session is gone.
            TransportError: there will be none.
            RayError: what the actor says.
        """
        return self.run(self.request(address, actor, body, timeout), abandon)

    def run(self, coroutine: Coroutine[Any, Any, Any], abandon: bool = False) -> Any:
        """Have the wire thread run a coroutine that asks a system actor, and wait for it.

        `abandon`: cancel it if this thread is interrupted (Ctrl-C).

        Raises:
            LocalRayletDiedError: the node process of this session is gone.
        """
        try:
            return self.wire.run(coroutine, abandon=abandon)
        except TransportError:
            self.node_loss.check()
            raise

    async def request(self, address: ProcessAddress, actor: str, body: Any, limit: float | None = None) -> bytes:
        """`ask` for the wire thread."""
        channel = await self.endpoint.connect(address)
        try:
            return await channel.request(actor, type(body).__name__, encode(body), limit or 3600.0)
        except RemoteCallError as error:
            raise deserialize_error(error.body) from None

    def worker_link(self, channel: Channel, node: ProcessAddress | None) -> WorkerLink:
        """What this process has told an executing process so far."""
        link = self._worker_links.get(channel.peer.process_id)
        if link is None or link.channel is not channel:
            link = self._worker_links[channel.peer.process_id] = WorkerLink(channel, node or self.node)
        return link

    def _warn_of_group(self, pending: GroupPending) -> None:
        name = f"{pending.name!r} " if pending.name else ""
        self.warn(
            f"Placement group {name}({pending.group_id.hex()[:12]}) waits until the cluster has room: {pending.problem}"
        )

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

    def _on_nodes_gone(self, _: Channel, call: Call) -> None:
        """Give up the channels to processes of nodes that are gone: a host without power does not say so."""
        gone = set(decoder_of(NodesGone).decode(call.body).node_ids)
        self.gone_nodes |= dict.fromkeys(gone)
        while len(self.gone_nodes) > _MOST_GONE:
            del self.gone_nodes[next(iter(self.gone_nodes))]
        for channel in list(self.endpoint.channels.values()):
            node_id = channel.peer_info.get("node", "")
            if node_id in gone:
                self.endpoint.give_up(channel, f"The cluster has given up node {node_id[:8]}, where it ran.")

    def _on_tell_sealed(self, channel: Channel, call: Call) -> None:
        self.store.tell_all()
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

    def process_exits(self, reason: str) -> None:
        """The process ends by itself, so that its atexit handlers run: tell the node manager why."""
        self.execution.recorder.flush()
        self.links.notify(self.node, NODE, WorkerLeaving(reason))

    @staticmethod
    def death_cause(reply: Reply | TransportError, node_id: str) -> DeathCause | None:
        """What a node manager says of a process's end; when it says nothing, it is lost itself."""
        if isinstance(reply, TransportError):
            return DeathCause(DeathKind.NODE_LOST, str(reply), node_id=node_id)
        if reply.failed or not reply.body:
            return None
        return _death_decoder.decode(reply.body)


def _leave_quietly(_error: TransportError) -> None:
    """It is this process that ends the channel, as it leaves."""


def _name_nothing(_name: str) -> None:
    """A driver's process keeps the title it has."""


def _nothing() -> None:
    """A driver leaves when its script does."""


_death_decoder = msgspec.msgpack.Decoder(DeathCause)
