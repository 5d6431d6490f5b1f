"""The caller's side of one actor: its calls in order, through pending, alive, restarting and dead. On the wire thread."""

import functools
from collections import deque
from typing import TYPE_CHECKING

from ...exceptions import ActorDiedError, ActorUnavailableError, DeathCause, RayTaskError
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Reply
from ..contract import EXECUTOR, ActorChanged, CancelTask, Outcome, decoder_of, encode
from ..serialization import deserialize_error, serialize_error
from .entry import FAILED
from .submission import WorkerLink
from .task_record import TaskRecord

if TYPE_CHECKING:
    from .hub import Hub


class ActorClient:
    """Calls to an actor that are waiting, in flight, or in doubt since its process died.

    Order: a call is sent only after those before it, so one whose arguments are not ready holds back the rest.
    In doubt: whether a lost call ran cannot be known. Once the head says what became of the actor, such a call is
    sent again if `max_task_retries` allows, and fails otherwise.
    """

    def __init__(self, hub: "Hub", actor_id: bytes, name: str) -> None:
        self._hub = hub
        self.actor_id = actor_id
        self.name = name
        self.state = "pending"
        self.incarnation = 0
        self.pending_calls = 0
        self._cause = b""
        self._link: WorkerLink | None = None
        self._queue: deque[TaskRecord] = deque()
        self._in_flight: dict[bytes, TaskRecord] = {}
        self._in_doubt: list[TaskRecord] = []

    def submit(self, record: TaskRecord) -> None:
        """Take a new call."""
        record.home = self
        if self.state == "dead":
            self._fail(record)
            return
        self._queue.append(record)
        if record.dependencies:
            record.missing = 1  # holds back what follows, until `resolve` has looked
            self._hub.submission.resolve(record, self._resolved)
        self._flush()

    def again(self, record: TaskRecord) -> None:
        """Take a call once more whose result was lost; it goes behind those that wait now."""
        self.pending_calls += 1
        self.submit(record)

    def _resolved(self, record: TaskRecord) -> None:
        record.missing = 0
        self._flush()

    def cancel(self, record: TaskRecord, force: bool, recursive: bool) -> None:
        """Cancel a call."""
        record.cancelled = True
        if record.task_id in self._in_flight and self._link is not None:
            self._link.channel.notify(EXECUTOR, "CancelTask", encode(CancelTask(record.task_id, force, recursive)))
        elif record in self._queue:
            self._queue.remove(record)
            self._end(record)
            self._hub.submission.fail(record, self._hub.submission.cancelled_error(record))
            self._flush()

    def changed(self, change: ActorChanged) -> None:
        """The head says what became of the actor."""
        if change.incarnation < self.incarnation or self.state == "dead":
            return
        if change.name:
            self.name = change.name
        self.incarnation = change.incarnation
        self.state = change.state
        if change.problem:
            self._hub.warn(f"Actor {self.name} waits until the cluster has room: {change.problem}")
        if change.state == "alive" and change.address is not None:
            self._hub.links.connected(change.address, functools.partial(self._connected, change))
        elif change.state == "dead":
            self._cause = change.cause
            self._link = None
            for record in self._take_all():
                self._fail(record)
        else:
            self._link = None
            self._doubt()
            self._settle()

    def node_lost(self, error: bytes) -> None:
        """The node process of this session is gone: the actor is out of reach for good."""
        self.state, self._cause, self._link = "dead", error, None
        for record in self._take_all():
            self._fail(record)

    def _take_all(self) -> list[TaskRecord]:
        """All calls that have not ended, in order."""
        calls = [*self._in_flight.values(), *self._in_doubt, *self._queue]
        self._in_flight.clear()
        self._in_doubt.clear()
        self._queue.clear()
        return calls

    def _connected(self, change: ActorChanged, channel: Channel | TransportError) -> None:
        if isinstance(channel, TransportError) or self.incarnation != change.incarnation or self.state != "alive":
            return  # it died meanwhile; the head will say so
        if self._link is not None and self._link.channel is channel:
            return
        self._link = self._hub.worker_link(channel, change.node)
        self._doubt()
        self._settle()
        self._flush()

    def _doubt(self) -> None:
        self._in_doubt.extend(self._in_flight.values())
        self._in_flight.clear()

    def _settle(self) -> None:
        """Decide what happens to calls that may or may not have run."""
        in_doubt, self._in_doubt = self._in_doubt, []
        for record in reversed(in_doubt):
            limit = record.template.max_retries
            if record.cancelled:
                self._end(record)
                self._hub.submission.fail(record, self._hub.submission.cancelled_error(record))
            elif limit < 0 or record.attempt < limit:
                record.attempt += 1
                self._queue.appendleft(record)
            else:
                self._end(record)
                message = (
                    f"Actor {self.name} died while {record.template.wire.name} was with it, and is being restarted. The call "
                    "may or may not have run. Set max_task_retries to have such calls sent again, if they may run twice."
                )
                self._hub.submission.fail(record, ActorUnavailableError(message, self.actor_id))

    def _flush(self) -> None:
        queue, link = self._queue, self._link
        if link is None:
            while queue and queue[0].missing < 0:
                self._end(queue.popleft())
            return
        while queue and queue[0].missing <= 0:
            record = queue.popleft()
            if record.missing < 0:  # failed while it waited
                self._end(record)
                continue
            self._in_flight[record.task_id] = record
            record.lease = self
            link.run(
                record,
                self._hub.submission.invocation(record),
                functools.partial(self._replied, record, link),
                record.generator,
            )

    @property
    def link(self) -> WorkerLink | None:
        """The way to the actor's process, while it is alive."""
        return self._link

    def _replied(self, record: TaskRecord, link: WorkerLink, reply: Reply | TransportError) -> None:
        if isinstance(reply, TransportError):
            if link is self._link:
                self._link = None  # the head will say what became of it
                self._doubt()
            return
        if self._in_flight.pop(record.task_id, None) is None:
            return
        outcome: Outcome = decoder_of(Outcome).decode(reply.body)
        limit = record.template.max_retries
        if outcome.retryable and not record.cancelled and (limit < 0 or record.attempt < limit):
            record.attempt += 1
            self._queue.appendleft(record)
            self._flush()
            return
        self._end(record)
        self._hub.submission.conclude(record, outcome, link.channel.peer)

    def _end(self, record: TaskRecord) -> None:
        record.lease = None
        self.pending_calls -= 1

    def _fail(self, record: TaskRecord) -> None:
        self._end(record)
        if record.missing < 0:
            return
        told = deserialize_error(self._cause) if self._cause else None
        cause = told.cause if isinstance(told, ActorDiedError) else told
        if cause is None or isinstance(cause, DeathCause | RayTaskError):
            method = record.template.wire.name
            error = ActorDiedError(cause, actor_id=self.actor_id, actor_name=self.name, method=method)
            self._hub.submission.finish(record, FAILED, serialize_error(error))
        else:  # it never lived, its placement group is gone, or this process's node is: an error of its own
            self._hub.submission.finish(record, FAILED, self._cause)
