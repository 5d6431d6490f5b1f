"""The caller's side of tasks: from a record to a worker that runs it. On the wire thread."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Reply
from ..contract import (
    EXECUTOR,
    NODE,
    CancelTask,
    DescribeDeath,
    Invocation,
    LeaseGranted,
    LeaseInfeasible,
    LeaseRedirected,
    LeaseSpec,
    Outcome,
    RecallTasks,
    ReturnLease,
    decoder_of,
)
from .burst import OnTheWay
from .demand_split import DemandSplit
from .entry import FAILED, PENDING, ObjectEntry
from .lease import Lease
from .lease_class import LeaseClass
from .locality import nearest, patience
from .task_failure import cancelled_error, lost_error, refused_error, too_large_error, unplaceable_error
from .task_record import TaskRecord
from .worker_link import Push, WorkerLink

if TYPE_CHECKING:
    from .hub import Hub


Resolved = Callable[[TaskRecord], None]
Unresolved = Callable[[TaskRecord, bytes], None]


class Submission:
    """Resolves arguments, keeps the scheduling classes, and hands outcomes to `Completion`."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._classes: dict[int, LeaseClass] = {}
        self._dirty: dict[int, LeaseClass] = {}
        self._demand = DemandSplit(hub)
        self._warned: set[int] = set()  # classes whose user knows that they wait, until they get a worker

    # --- from the user's threads, through the wire thread's inbox ---

    def add_class(self, key: int, spec: LeaseSpec) -> None:
        """Make a scheduling class known, before its first task."""
        lease_class = self._classes[key] = LeaseClass(key, spec, self)
        lease_class.keeps = _is_content(spec)
        if spec.strategy.get("kind") == "spread":
            lease_class.spread()

    def accept(self, record: TaskRecord) -> None:
        """Take a new task."""
        if self._hub.node_loss:
            self._hub.completion.fail(record, self._hub.node_loss.error())
        elif record.dependencies:
            self.resolve(record, self._ready_with_arguments, self._unresolved)
        else:
            self._ready(record)

    def resolve(self, record: TaskRecord, then: Resolved, failed: Unresolved) -> None:
        """Call `then(record)` when its dependencies are ready, or `failed` with the error of one that has failed."""
        entries: list[ObjectEntry] = [ref._entry for ref in record.dependencies or ()]
        for entry in entries:
            if entry.state == FAILED:
                record.missing = -1
                self._hub.unseen.seen(entry)
                failed(record, entry.data)
                return
        pending = [entry for entry in entries if entry.state == PENDING]
        record.missing = len(pending)
        if pending:
            self._await(record, pending, then, failed)
        else:
            then(record)

    def _await(self, record: TaskRecord, pending: list[ObjectEntry], then: Resolved, failed: Unresolved) -> None:
        def one_ready(entry: ObjectEntry) -> None:
            if record.missing < 0:
                return  # another has failed, or the task was cancelled
            record.missing -= 1
            if entry.state == FAILED:
                record.missing = -1
                self._hub.unseen.seen(entry)
                failed(record, entry.data)
            elif record.missing == 0:
                then(record)

        for entry in pending:
            if not entry.when_ready(one_ready):
                one_ready(entry)
            elif entry.owner is not None:
                self._hub.borrowing.fetch(entry)

    def _unresolved(self, record: TaskRecord, error: bytes) -> None:
        self._hub.completion.finish(record, error)

    def cancel(self, order: tuple[ObjectEntry, bool, bool]) -> None:
        """Cancel the task, or the call of an actor's method, that makes an object."""
        entry, force, recursive = order
        record: TaskRecord | None = entry.producer
        if record is None or entry.state != PENDING:
            return
        if isinstance(record.home, LeaseClass) or record.home is None:
            self._cancel_task(record, force, recursive)
        else:
            record.home.cancel(record, force, recursive)

    def _cancel_task(self, record: TaskRecord, force: bool, recursive: bool) -> None:
        record.cancelled = True
        if record.lease is not None:
            self.send_cancel(record.lease.link, record, force, recursive)
            return
        lease_class = record.home
        record.missing = -1
        if isinstance(lease_class, LeaseClass):
            lease_class.withdraw(record)
            self._mark(lease_class)
        self._hub.completion.fail(record, cancelled_error(record))

    def send_cancel(self, link: WorkerLink, record: TaskRecord, force: bool, recursive: bool) -> None:
        """Tell the process that has a task to cancel it."""
        self._hub.links.notify(link.channel.peer, EXECUTOR, CancelTask(record.task_id, force, recursive))

    def node_lost(self, error: bytes) -> None:
        """There will be no workers any more: fail all that is not done."""
        for lease_class in self._classes.values():
            for record in lease_class.abandon():
                self._hub.completion.finish(record, error)

    # --- from the node manager ---

    def lease_granted(self, grant: LeaseGranted) -> None:
        """A worker is ours."""
        lease_class = self._classes[grant.class_key]
        self._warned.discard(grant.class_key)

        def connected(channel: Channel | TransportError) -> None:
            if isinstance(channel, TransportError) or channel.error is not None:
                self._hub.links.notify(grant.node, NODE, ReturnLease(grant.lease_id, worker_ok=False))
            else:
                link = self._hub.worker_link(channel, grant.node)
                lease_class.granted(
                    Lease(grant.lease_id, grant.node.process_id, link, self._hub.now()), self._hub.now()
                )

        self._hub.links.connected(grant.worker, connected)

    def lease_redirected(self, redirect: LeaseRedirected, source: ProcessAddress) -> None:
        """Some of what a class wants of a node (`source`) is better placed with another."""
        lease_class = self._classes[redirect.class_key]
        lease_class.scattered = True
        self._demand.redirected(lease_class, redirect, source)

    def lease_infeasible(self, verdict: LeaseInfeasible) -> None:
        """The class cannot run as things are: fail its tasks where waiting is pointless, else warn."""
        lease_class = self._classes[verdict.class_key]
        if not verdict.fatal:
            if verdict.class_key in self._warned:
                return
            self._warned.add(verdict.class_key)
            names = ", ".join({record.template.wire.name: None for record in lease_class.queue})
            self._hub.warn(f"{names or 'A task'} waits until the cluster has room: {verdict.reason}")
            return
        for record in lease_class.refused():
            self._hub.completion.fail(record, unplaceable_error(record, verdict))
        self._mark(lease_class)

    def reclaim(self, lease_id: str) -> None:
        """The node manager wants a lease back."""
        for lease_class in self._classes.values():
            lease_class.reclaim(lease_id, self._hub.now())

    # --- LeasePort ---

    def push(self, lease: Lease, task: TaskRecord) -> Push:
        """Send a task to a worker."""
        link: Any = lease.link
        if link.full:
            return Push.LATER
        replied = functools.partial(self._replied, lease, task)
        pushed = link.push(task, self.invocation(task), replied, task.generator)
        if pushed is Push.SENT:
            task.lease = lease
        elif pushed is Push.TOO_LARGE:
            self._hub.completion.fail(task, too_large_error(task))
        return pushed

    def is_near(self, lease: Lease, task: TaskRecord) -> bool:
        """Whether the task's large arguments lie on the lease's node, at least most of them."""
        link: Any = lease.link
        if task.near is None:
            task.near = nearest(task)
        return task.near == link.channel.peer_info.get("node")

    def is_home(self, lease: Lease) -> bool:
        """Whether the lease is on this process's node."""
        return lease.node == self._hub.node.process_id

    def patience(self, lease: Lease, task: TaskRecord) -> float:
        """How long it would take to have the task's large arguments where the lease is."""
        link: Any = lease.link
        return patience(task, link.channel.peer_info.get("node", "")) if task.near else 0.0

    def recall(self, lease: Lease, tasks: list[TaskRecord]) -> None:
        """Ask for tasks back. Newest first, so that putting each at the front of the queue restores their order."""
        link: Any = lease.link

        def recalled(_: Reply | TransportError) -> None:
            lease.recalling = False

        body = RecallTasks([task.task_id for task in reversed(tasks)])
        self._hub.links.ask(link.channel.peer, EXECUTOR, body, recalled)

    def demand(self, lease_class: LeaseClass, wanted: int) -> None:
        """Declare demand."""
        self._demand.declare(lease_class, wanted)

    def coming(self, lease_class: LeaseClass) -> OnTheWay:
        """The leases that nodes were asked for and have not given yet."""
        return self._demand.coming(lease_class)

    def process_lost(self, channel: Channel) -> None:
        """A process is gone: its leases, where it was a worker; what was to be had there, where it was a node manager.

        What was in flight has been failed by its channel; this is for leases that were idle. The workers of a lost node
        manager end in a moment, and get no more tasks, each of which would count as an attempt.
        """
        for lease_class in self._classes.values():
            for lease in list(lease_class.leases.values()):
                link: Any = lease.link
                if link.channel is channel and not lease.in_flight:
                    lease_class.lost(lease.lease_id, self._hub.now())
                elif link.node.process_id == channel.peer.process_id:
                    lease_class.take_back(lease)
                    self._mark(lease_class)
        self._demand.node_lost(channel.peer.process_id)

    def give_back(self, lease: Lease, worker_ok: bool) -> None:
        """Return a lease to the node that granted it."""
        link: Any = lease.link
        self._hub.links.notify(link.node, NODE, ReturnLease(lease.lease_id, worker_ok))

    def wake_at(self, lease_class: LeaseClass, when: float) -> None:
        """Tick a class later."""
        self._hub.wire.loop.call_at(when, lambda: lease_class.tick(self._hub.now(), when))

    # --- outcomes ---

    def invocation(self, record: TaskRecord) -> Invocation:
        """A record as it travels. Its dependencies are ready."""
        values = self._hub.values
        dependencies = values.dependencies(record.dependencies)
        stored = values.dependencies([record.stored_args])[0] if record.stored_args is not None else None
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
        if isinstance(reply, TransportError):
            self._lease_lost(lease_class, lease)
            return
        record.lease = None
        link: Any = lease.link
        if reply.failed:  # the worker's runtime could not even look at it
            lease_class.answered(lease, record, 0.0, self._hub.now())
            self._hub.completion.fail(record, refused_error(record, link))
        else:
            outcome: Outcome = _outcome_decoder.decode(reply.body)
            if outcome.status == "returned":
                self._returned(lease_class, lease, record)
            else:
                lease_class.answered(lease, record, outcome.seconds, self._hub.now())
                if outcome.leaving:
                    lease_class.spent(lease)
                self._hub.completion.conclude(record, outcome, link.channel.peer)
        self._mark(lease_class)

    def _returned(self, lease_class: LeaseClass, lease: Lease, record: TaskRecord) -> None:
        lease_class.returned(lease, record)
        if record.cancelled:  # the order to cancel it found it on its way back
            lease_class.withdraw(record)
            self._hub.completion.fail(record, cancelled_error(record))

    def _lease_lost(self, lease_class: LeaseClass, lease: Lease) -> None:
        link: Any = lease.link
        records = lease_class.lost(lease.lease_id, self._hub.now())
        for record in records:
            record.lease = None
            if record.cancelled:
                self._hub.completion.fail(record, cancelled_error(record))
            elif len(records) > 1:
                self.run_again(record)
            elif self._hub.completion.may_retry(record):
                record.attempt += 1
                self.run_again(record)
            else:
                self._fail_with_cause(record, link)
        self._mark(lease_class)

    def _fail_with_cause(self, record: TaskRecord, link: WorkerLink) -> None:
        """Ask the worker's node manager how it ended, and fail the task with that."""
        node_id = link.channel.peer_info.get("node", "")

        def described(reply: Reply | TransportError) -> None:
            if self._hub.node_loss:
                self._hub.completion.fail(record, self._hub.node_loss.error())
            else:
                self._hub.completion.fail(record, lost_error(record, self._hub.death_cause(reply, node_id)))

        lost = link.channel.error
        if lost is not None and node_id in self._hub.gone_nodes:
            described(lost)  # the node may live on, cut off from its head only, but says nothing that counts any more
        else:
            self._hub.links.ask(link.node, NODE, DescribeDeath(link.channel.peer.process_id), described)

    def run_again(self, record: TaskRecord) -> None:
        """Run a task once more."""
        record.home = None
        self.accept(record)

    def _ready_with_arguments(self, record: TaskRecord) -> None:
        record.near = nearest(record)
        if record.near:
            lease_class = self._classes[record.template.class_key]
            lease_class.choice.matters = True
            lease_class.scattered |= record.near != self._hub.identity.node_id.hex()
        self._ready(record)

    def _ready(self, record: TaskRecord) -> None:
        if record.cancelled:
            self._hub.completion.fail(record, cancelled_error(record))
            return
        if self._hub.node_loss:  # while its arguments were made
            self._hub.completion.fail(record, self._hub.node_loss.error())
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


def _is_content(spec: LeaseSpec) -> bool:
    """Whether a task may run where the last one has run: not where a better place may be free again."""
    return not (spec.strategy.get("soft") or spec.strategy.get("fallback"))


_outcome_decoder = decoder_of(Outcome)
