"""The caller's side of one actor: its calls in order, while it is pending, alive, restarting, dead.

On the wire thread.
"""

import functools
from collections import deque
from typing import TYPE_CHECKING

from ...exceptions import ActorDiedError, ActorPlacementGroupRemoved, ActorUnavailableError, DeathCause, RayTaskError
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Reply
from ..contract import EXECUTOR, ActorChanged, Outcome, RecallTasks, decoder_of
from ..serialization import deserialize_error, serialize_error
from .lease_class import FULL_S
from .task_failure import cancelled_error, refused_error, too_large_error
from .task_record import TaskRecord
from .worker_link import Push, WorkerLink

if TYPE_CHECKING:
    from .hub import Hub


_SILENCE_S = 1.0
"""When a process that is said to be gone has answered nothing for so long, nothing is expected of it any more."""


class ActorClient:
    """Calls to an actor that are waiting, in flight, or in doubt since its process died.

    Order: a call is sent only after those before it, so one whose arguments are not ready holds back the rest.
    In doubt: whether a lost call ran cannot be known. Once the head says what became of the actor, such a call is
    sent again if `max_task_retries` allows, and fails otherwise.
    Parting: the head's word can overtake answers of the actor's process. So it takes effect only when all is heard that
    the process had sent: a call that was answered neither fails nor runs again.
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
        self._withdrawn: set[TaskRecord] = set()  # of those in the queue; swept out when they are many, or come up
        self._in_flight: dict[bytes, TaskRecord] = {}
        self._in_doubt: dict[bytes, TaskRecord] = {}
        self._waiting_for: WorkerLink | None = None
        self._news: list[ActorChanged] = []  # waits until parting from the last process is over

    def submit(self, record: TaskRecord) -> None:
        """Take a new call."""
        record.home = self
        if self.state == "dead":
            self._fail(record)
            return
        self._queue.append(record)
        if record.dependencies:
            record.missing = 1  # holds back what follows, until `resolve` has looked
            self._hub.submission.resolve(record, self._resolved, self._unresolved)
        else:
            self._flush()

    def again(self, record: TaskRecord) -> None:
        """Take a call once more whose result was lost; it goes behind those that wait now."""
        self.pending_calls += 1
        self.submit(record)

    def _resolved(self, record: TaskRecord) -> None:
        record.missing = 0
        self._flush()

    def _unresolved(self, record: TaskRecord, error: bytes) -> None:
        if self._withdraw(record):
            self._end(record)
            self._hub.completion.finish(record, error)
            self._flush()  # it held back those behind it

    def _withdraw(self, record: TaskRecord) -> bool:
        """Take a call off the queue; False where it is not there. Of many, each costs the same."""
        withdrawn = self._withdrawn
        if record.ended or record in withdrawn or record.task_id in self._in_flight or record.task_id in self._in_doubt:
            return False
        withdrawn.add(record)
        if 2 * len(withdrawn) > len(self._queue):
            kept = [record for record in self._queue if record not in withdrawn]
            self._queue.clear()
            self._queue.extend(kept)
            withdrawn.clear()
        return True

    def cancel(self, record: TaskRecord, force: bool, recursive: bool) -> None:
        """Cancel a call. One in doubt is not sent again."""
        record.cancelled = True
        if record.task_id in self._in_flight and self._link is not None:
            self._hub.submission.send_cancel(self._link, record, force, recursive)
        elif self._withdraw(record):
            record.missing = -1
            self._end(record)
            self._hub.completion.fail(record, cancelled_error(record))
            self._flush()

    def changed(self, change: ActorChanged) -> None:
        """The head says what became of the actor."""
        link = self._link
        if self._news:
            self._news.append(change)
        elif (
            link is not None
            and link.channel.error is None
            and self._in_flight
            and not (change.state == "alive" and change.incarnation == self.incarnation)
            and change.incarnation >= self.incarnation
        ):
            self._part(link, change)
        else:
            self._apply(change)

    def _part(self, link: WorkerLink, change: ActorChanged) -> None:
        """The process is gone, or has lost the actor: first hear what it may have answered before."""
        self._link = None  # nothing more is sent there
        self._news = news = [change]

        def over(_: object = None) -> None:
            if self._news is news:
                self._news = []
                for held in news:
                    self._apply(held)

        def look(before: int) -> None:
            if len(self._in_flight) == before:  # it is silent, and may have been cut off long ago
                over()
            elif self._news is news:
                self._hub.wire.loop.call_later(_SILENCE_S, look, len(self._in_flight))

        # Its answer comes behind all others; where there is none, the channel's end says that nothing else comes.
        self._hub.links.ask(link.channel.peer, EXECUTOR, RecallTasks([]), over)
        self._hub.wire.loop.call_later(_SILENCE_S, look, len(self._in_flight))

    def _apply(self, change: ActorChanged) -> None:
        if change.incarnation < self.incarnation or self.state == "dead":
            return
        if change.name:
            self.name = change.name
        self.incarnation = change.incarnation
        self.state = change.state
        if change.problem and self._is_ours_to_tell():
            self._hub.warn(f"Actor {self.name} waits until the cluster has room: {change.problem}")
        if change.state == "alive" and change.address is not None:
            self._hub.links.connected(change.address, functools.partial(self._connected, change))
        elif change.state == "dead":
            self._cause = change.cause
            self._link = None
            calls = self._take_all()
            if not calls and self._hub.actors.has_created(self.actor_id):
                self._hub.unseen.actor_failed(change.cause)
            for record in calls:
                self._fail(record)
        else:
            self._link = None
            self._doubt()
            self._settle()

    def _is_ours_to_tell(self) -> bool:
        """Whether this process shows why the actor waits: others that have a handle to it do not, too."""
        return self._hub.identity.is_driver or self._hub.actors.has_created(self.actor_id)

    def node_lost(self, error: bytes) -> None:
        """The node process of this session is gone: the actor is out of reach for good."""
        self.state, self._cause, self._link = "dead", error, None
        for record in self._take_all():
            self._fail(record)

    def _take_all(self) -> list[TaskRecord]:
        """All calls that have not ended, in order."""
        waiting = [record for record in self._queue if record not in self._withdrawn]
        calls = [*self._in_flight.values(), *self._in_doubt.values(), *waiting]
        self._in_flight.clear()
        self._in_doubt.clear()
        self._queue.clear()
        self._withdrawn.clear()
        return calls

    def _connected(self, change: ActorChanged, channel: Channel | TransportError) -> None:
        if isinstance(channel, TransportError) or self.incarnation != change.incarnation or self.state != "alive":
            return  # it died meanwhile; the head will say so
        if channel.error is not None or (self._link is not None and self._link.channel is channel):
            return
        self._link = self._hub.worker_link(channel, change.node)
        self._doubt()
        self._settle()
        self._flush()

    def _doubt(self) -> None:
        self._in_doubt.update(self._in_flight)
        self._in_flight.clear()

    def _settle(self) -> None:
        """Decide what happens to calls that may or may not have run."""
        in_doubt, self._in_doubt = self._in_doubt, {}
        for record in reversed(in_doubt.values()):
            limit = record.template.max_retries
            if record.cancelled:
                self._end(record)
                self._hub.completion.fail(record, cancelled_error(record))
            elif limit < 0 or record.attempt < limit:
                record.attempt += 1
                self._queue.appendleft(record)
            else:
                self._end(record)
                message = (
                    f"Actor {self.name} died while {record.template.wire.name} was with it, and is restarted. The call "
                    "may or may not have run. Set max_task_retries to have such calls sent again, if that is safe."
                )
                self._hub.completion.fail(record, ActorUnavailableError(message, self.actor_id))

    def _flush(self) -> None:
        queue, link = self._queue, self._link
        while link is not None and queue and queue[0].missing <= 0:
            record = queue[0]
            if self._withdrawn and record in self._withdrawn:
                self._withdrawn.discard(queue.popleft())
                continue
            if link.full:
                self._flush_later(link)
                return
            replied = functools.partial(self._replied, record, link)
            pushed = link.push(record, self._hub.submission.invocation(record), replied, record.generator)
            if pushed is Push.LATER:
                self._flush_later(link)
                return
            queue.popleft()
            if pushed is Push.SENT:
                self._in_flight[record.task_id] = record
                record.lease = self
            else:
                self._end(record)
                self._hub.completion.fail(record, too_large_error(record))

    def _flush_later(self, link: WorkerLink) -> None:
        """The actor's process has much before it that it has not taken: look again in a moment."""
        if self._waiting_for is not link:
            self._waiting_for = link
            self._hub.wire.loop.call_later(FULL_S, self._flush_again, link)

    def _flush_again(self, link: WorkerLink) -> None:
        if self._waiting_for is link:
            self._waiting_for = None
        if self._link is link:
            self._flush()

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
        completion = self._hub.completion
        outcome: Outcome | None = None if reply.failed else decoder_of(Outcome).decode(reply.body)
        if self._in_flight.pop(record.task_id, None) is None:
            if outcome is not None:
                completion.discard(record, outcome, link.channel.peer)
            return
        if outcome is None:
            self._end(record)
            completion.fail(record, refused_error(record, link))
        elif completion.is_to_be_repeated(record, outcome):
            completion.take_borrows(outcome, link.channel.peer)
            record.attempt += 1
            record.lease = None
            self._queue.appendleft(record)
            self._flush()
        else:
            self._end(record)
            completion.conclude(record, outcome, link.channel.peer)

    def _end(self, record: TaskRecord) -> None:
        record.lease = None
        self.pending_calls -= 1

    def _fail(self, record: TaskRecord) -> None:
        self._end(record)
        record.missing = -1
        told = deserialize_error(self._cause) if self._cause else None
        removed = isinstance(told, ActorPlacementGroupRemoved)
        cause = told.cause if isinstance(told, ActorDiedError) and not removed else told
        if cause is None or isinstance(cause, DeathCause | RayTaskError):
            method = record.template.wire.name
            error = ActorDiedError(cause, actor_id=self.actor_id, actor_name=self.name, method=method)
            self._hub.completion.finish(record, serialize_error(error))
        else:  # it never lived, its placement group is gone, or this process's node is: an error of its own
            self._hub.completion.finish(record, self._cause)
