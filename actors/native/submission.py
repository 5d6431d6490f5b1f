"""The caller's side of tasks: from a record to its outcome. On the wire thread."""

import functools
from typing import TYPE_CHECKING, Any

from ...exceptions import (
    DeathKind,
    OutOfMemoryError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
    WorkerCrashedError,
)
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Reply
from ..contract import (
    EXECUTOR,
    NODE,
    CancelTask,
    Demand,
    DescribeDeath,
    Invocation,
    LeaseGranted,
    LeaseInfeasible,
    LeaseRedirected,
    LeaseSpec,
    Outcome,
    RecallTasks,
    ReturnLease,
    Value,
    decoder_of,
    encode,
)
from ..serialization import serialize_error
from .entry import FAILED, PENDING, STORED, ObjectEntry
from .lease_class import Lease, LeaseClass
from .task_record import TaskRecord

if TYPE_CHECKING:
    from .hub import Hub


class WorkerLink:
    """A channel to a process that executes for this one, and what it has been told already."""

    __slots__ = ("channel", "functions", "node", "templates")

    def __init__(self, channel: Channel, node: Any) -> None:
        self.channel = channel
        self.node = node
        self.templates: set[int] = set()
        self.functions: set[bytes] = set()

    def run(self, record: TaskRecord, invocation: Invocation, on_reply: Any, on_item: Any = None) -> None:
        """Send an invocation, and before it what the process needs to understand it."""
        wire = record.template.wire
        if wire.template_id not in self.templates:
            self.templates.add(wire.template_id)
            if wire.function_id in self.functions:
                wire = type(wire)(
                    wire.template_id, wire.kind, wire.name, wire.function_id, b"", wire.num_returns, wire.options
                )
            self.functions.add(wire.function_id)
            self.channel.notify(EXECUTOR, "Template", encode(wire))
        record.call_id = self.channel.call(EXECUTOR, "Invocation", encode(invocation), on_reply, on_item)


class _Share:
    """What of a class's demand was sent to another node: workers wanted there now, and redirected there in all."""

    __slots__ = ("declared", "lost", "node", "seen", "wanted")

    def __init__(self, node: ProcessAddress) -> None:
        self.node = node
        self.lost = False  # the node is gone; what was sent there is known, and wanted elsewhere
        self.wanted = 0
        self.declared = 0
        self.seen = 0


class Submission:
    """Resolves arguments, keeps the scheduling classes, and turns outcomes into ready objects or further attempts."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._classes: dict[int, LeaseClass] = {}
        self._dirty: dict[int, LeaseClass] = {}
        self._elsewhere: dict[int, dict[str, _Share]] = {}
        self._version = 0

    # --- from the user's threads, through the wire thread's inbox ---

    def add_class(self, key: int, spec: LeaseSpec) -> None:
        """Make a scheduling class known, before its first task."""
        self._classes[key] = LeaseClass(key, spec, self)

    def accept(self, record: TaskRecord) -> None:
        """Take a new task."""
        if self._hub.node_loss:
            self.fail(record, self._hub.node_loss.error())
        elif record.dependencies:
            self.resolve(record, self._ready)
        else:
            self._ready(record)

    def resolve(self, record: TaskRecord, then: Any) -> None:
        """Call `then(record)` when its dependencies are ready; fail it with their error when one has failed."""

        def one_ready(entry: ObjectEntry) -> None:
            record.missing -= 1
            if entry.state == FAILED and record.missing >= 0:
                record.missing = -1
                self.finish(record, FAILED, entry.data)
            elif record.missing == 0:
                then(record)

        pending: list[ObjectEntry] = []
        for ref in record.dependencies or ():
            entry: ObjectEntry = ref._entry
            if entry.state == FAILED:
                self.finish(record, FAILED, entry.data)
                return
            if entry.state == PENDING:
                pending.append(entry)
        record.missing = len(pending)
        if not pending:
            then(record)
        for entry in pending:
            if not entry.when_ready(one_ready):
                one_ready(entry)
            elif entry.owner is not None:
                self._hub.table.fetch(entry)

    def cancel(self, order: tuple[ObjectEntry, bool, bool]) -> None:
        """Cancel the task that makes an object."""
        entry, force, recursive = order
        record: TaskRecord | None = entry.producer
        if record is None or entry.state != PENDING:
            return
        record.cancelled = True
        if record.lease is None:
            if isinstance(record.home, LeaseClass):
                record.home.withdraw(record)
            record.missing = -1
            self.fail(record, self.cancelled_error(record))
        else:
            link: WorkerLink = record.lease.link
            link.channel.notify(EXECUTOR, "CancelTask", encode(CancelTask(record.task_id, force, recursive)))

    def node_lost(self, error: bytes) -> None:
        """There will be no workers any more: fail all that is not done."""
        for lease_class in self._classes.values():
            for record in lease_class.abandon():
                self.finish(record, FAILED, error)

    # --- from the node manager ---

    def lease_granted(self, grant: LeaseGranted) -> None:
        """A worker is ours."""
        lease_class = self._classes[grant.class_key]

        def connected(channel: Channel | TransportError) -> None:
            if isinstance(channel, TransportError):
                self._hub.links.notify(grant.node, NODE, ReturnLease(grant.lease_id, worker_ok=False))
                return
            link = self._hub.worker_link(channel, grant.node)
            lease_class.granted(Lease(grant.lease_id, link, self._hub.now()), self._hub.now())

        self._hub.links.connected(grant.worker, connected)

    def lease_redirected(self, redirect: LeaseRedirected) -> None:
        """Some of a class's demand is better placed with another node."""
        shares = self._elsewhere.setdefault(redirect.class_key, {})
        share = shares.get(redirect.node.process_id)
        if share is None:
            share = shares[redirect.node.process_id] = _Share(redirect.node)
        if not share.lost:
            share.wanted += max(0, redirect.total - share.seen)
        share.seen = max(share.seen, redirect.total)
        lease_class = self._classes[redirect.class_key]
        self.demand(lease_class, lease_class.declared)

    def process_lost(self, process_id: str) -> None:
        """A process is gone. If it was a node's, what was to run there runs elsewhere."""
        for key, shares in self._elsewhere.items():
            share = shares.get(process_id)
            if share is not None and not share.lost:
                share.lost = True
                share.wanted = share.declared = 0
                lease_class = self._classes[key]
                self.demand(lease_class, lease_class.declared)

    def lease_infeasible(self, verdict: LeaseInfeasible) -> None:
        """The class cannot run as things are: fail its tasks where waiting is pointless, else warn."""
        lease_class = self._classes[verdict.class_key]
        if not verdict.fatal:
            self._hub.warn(verdict.reason)
            return
        for record in list(lease_class.queue):
            lease_class.withdraw(record)
            name = record.template.wire.name
            if verdict.kind == "environment":
                self.fail(record, RuntimeEnvSetupError(verdict.reason))
            elif verdict.kind == "group":
                self.fail(record, TaskPlacementGroupRemoved(f"{name} cannot run: {verdict.reason}."))
            else:
                self.fail(record, TaskUnschedulableError(f"{name} cannot be scheduled: {verdict.reason}"))
        self._mark(lease_class)

    def reclaim(self, lease_id: str) -> None:
        """The node manager wants a lease back."""
        for lease_class in self._classes.values():
            lease_class.reclaim(lease_id, self._hub.now())

    # --- LeasePort ---

    def push(self, lease: Lease, task: TaskRecord) -> None:
        """Send a task to a worker."""
        task.lease = lease
        link: Any = lease.link
        link.run(task, self.invocation(task), functools.partial(self._replied, lease, task), task.generator)

    def recall(self, lease: Lease, tasks: list[TaskRecord]) -> None:
        """Ask for tasks back. Newest first, so that putting each at the front of the queue restores their order."""
        link: Any = lease.link

        def recalled(_: Reply | TransportError) -> None:
            lease.recalling = False

        body = encode(RecallTasks([task.task_id for task in reversed(tasks)]))
        link.channel.call(EXECUTOR, "RecallTasks", body, recalled)

    def demand(self, lease_class: LeaseClass, wanted: int) -> None:
        """Declare demand: to other nodes what this one has sent there, the rest to this one."""
        shares = self._elsewhere.get(lease_class.key, {}).values()
        left = wanted
        for share in shares:
            share.wanted = min(share.wanted, left)
            left -= share.wanted
            if share.wanted != share.declared:
                share.declared = share.wanted
                self._demand_of(share.node, lease_class, share.wanted, placed=True)
        self._demand_of(self._hub.node, lease_class, left, seen_redirects=sum(share.seen for share in shares))

    def _demand_of(
        self, node: Any, lease_class: LeaseClass, wanted: int, placed: bool = False, seen_redirects: int = 0
    ) -> None:
        self._version += 1
        body = Demand(lease_class.key, wanted, self._version, lease_class.spec, placed, seen_redirects)
        if not placed:
            self._hub.links.notify(node, NODE, body)
            return

        def connected(channel: Channel | TransportError) -> None:
            if isinstance(channel, TransportError):
                self.process_lost(node.process_id)
            else:
                channel.notify(NODE, "Demand", encode(body))

        self._hub.links.connected(node, connected)

    def give_back(self, lease: Lease, worker_ok: bool) -> None:
        """Return a lease to the node that granted it."""
        link: Any = lease.link
        self._hub.links.notify(link.node, NODE, ReturnLease(lease.lease_id, worker_ok))

    def wake_at(self, lease_class: LeaseClass, when: float) -> None:
        """Tick a class later."""
        self._hub.wire.loop.call_at(when, lambda: lease_class.tick(self._hub.now()))

    # --- outcomes ---

    def invocation(self, record: TaskRecord) -> Invocation:
        """A record as it travels. Its dependencies are ready."""
        values = self._hub.values
        dependencies = tuple(values.dependency(ref) for ref in record.dependencies) if record.dependencies else ()
        stored = values.dependency(record.stored_args) if record.stored_args is not None else None
        return Invocation(
            record.template.wire.template_id,
            record.task_id,
            record.args,
            dependencies,
            stored,
            record.attempt,
            record.actor_id,
        )

    def _replied(self, lease: Lease, record: TaskRecord, reply: Reply | TransportError) -> None:
        lease_class: LeaseClass = record.home
        record.lease = None
        if isinstance(reply, TransportError):
            self._lease_lost(lease_class, lease)
            return
        outcome: Outcome = _outcome_decoder.decode(reply.body)
        if outcome.status == "returned":
            lease_class.returned(lease, record)
        else:
            lease_class.answered(lease, record, outcome.seconds, self._hub.now())
            self.conclude(record, outcome, lease.link.channel.peer)  # type: ignore[attr-defined]
        self._mark(lease_class)

    def conclude(self, record: TaskRecord, outcome: Outcome, worker: Any) -> None:
        """Make a task's results ready, or run it again."""
        table = self._hub.table
        for object_id in outcome.borrows:
            entry = table.find(object_id)
            if entry is not None:
                table.lend(entry, worker, 1)
        if outcome.status == "ok":
            lineage = False
            if record.generator is not None:
                record.generator.ended(None)
            for entry, value in zip(record.results, outcome.returns, strict=False):
                if entry.state == PENDING:
                    table.complete(entry, value)
                else:  # made again for a lost sibling; this one was still there
                    table.discard(entry.object_id, value)
                if entry.state == STORED:
                    lineage = True
                else:
                    entry.producer = None
            self._release(record, keep=lineage and record.template.max_retries != 0)
        elif outcome.status == "cancelled":
            self.fail(record, self.cancelled_error(record))
        elif outcome.retryable and self._may_retry(record) and not record.cancelled:
            record.attempt += 1
            self._again(record)
        else:
            self.finish(record, FAILED, outcome.returns[0].data)

    def _lease_lost(self, lease_class: LeaseClass, lease: Lease) -> None:
        link: Any = lease.link
        records = lease_class.lost(lease.lease_id, self._hub.now())
        for record in records:
            record.lease = None
            if record.cancelled:
                self.fail(record, self.cancelled_error(record))
            elif len(records) > 1:
                self._again(record)
            elif self._may_retry(record):
                record.attempt += 1
                self._again(record)
            else:
                self._fail_with_cause(record, link)

    def _fail_with_cause(self, record: TaskRecord, link: WorkerLink) -> None:
        """Ask the worker's node manager how it ended, and fail the task with that."""

        def described(reply: Reply | TransportError) -> None:
            if self._hub.node_loss:
                self.fail(record, self._hub.node_loss.error())
                return
            cause = self._hub.death_cause(reply)
            name = record.template.wire.name
            if cause is not None and cause.kind is DeathKind.GROUP_REMOVED:
                self.fail(record, TaskPlacementGroupRemoved(f"{name} was ended: {cause.explanation}."))
            elif cause is not None and cause.kind is DeathKind.OUT_OF_MEMORY:
                self.fail(record, OutOfMemoryError(f"{name} was stopped. {cause.render()}"))
            else:
                self.fail(record, WorkerCrashedError(task_name=name, cause=cause, attempt=record.attempt + 1))

        self._hub.links.ask(link.node, NODE, DescribeDeath(link.channel.peer.process_id), described)

    def _may_retry(self, record: TaskRecord) -> bool:
        limit = record.template.max_retries
        return limit < 0 or record.attempt < limit

    def _again(self, record: TaskRecord) -> None:
        if record.generator is not None:
            record.generator.restarted()
        self.accept(record)

    def again(self, record: TaskRecord) -> bool:
        """Run a finished task once more, because a result of it was lost; False when it may not."""
        if not self._may_retry(record):
            return False
        record.attempt += 1
        if record.actor_id:
            self._hub.client(record.actor_id, "").again(record)
        else:
            self.accept(record)
        return True

    def fail(self, record: TaskRecord, error: BaseException) -> None:
        """End a task with an error of the runtime's own."""
        self.finish(record, FAILED, serialize_error(error))

    def finish(self, record: TaskRecord, state: int, data: bytes) -> None:
        """End a task with an error for each of its results."""
        if record.generator is not None:
            record.generator.ended(data)
        for entry in record.results:
            if entry.state == PENDING:
                self._hub.table.complete(entry, Value("e" if state == FAILED else "i", data))
            entry.producer = None
        self._release(record, keep=False)

    def cancelled_error(self, record: TaskRecord) -> TaskCancelledError:
        """The error of a cancelled task."""
        return TaskCancelledError(record.task_id.hex())

    def _release(self, record: TaskRecord, keep: bool) -> None:
        """Let go of what the task needed, unless a result of it may have to be made again."""
        record.lease = record.held_actor = None
        if not keep:
            record.dependencies = record.nested = record.stored_args = None
            record.results = []

    def _ready(self, record: TaskRecord) -> None:
        if record.cancelled:
            self.fail(record, self.cancelled_error(record))
            return
        if self._hub.node_loss:  # while its arguments were made
            self.fail(record, self._hub.node_loss.error())
            return
        lease_class = self._classes[record.template.class_key]
        record.home = lease_class
        lease_class.submit(record)
        self._mark(lease_class)

    def _mark(self, lease_class: LeaseClass) -> None:
        """Dispatch a class once after the burst of events that is being handled."""
        if not self._dirty:
            self._hub.wire.loop.call_soon(self._dispatch)
        self._dirty[lease_class.key] = lease_class

    def _dispatch(self) -> None:
        dirty, self._dirty = self._dirty, {}
        now = self._hub.now()
        for lease_class in dirty.values():
            lease_class.dispatch(now)


_outcome_decoder = decoder_of(Outcome)
