"""How calls end, of tasks and of actors: in ready objects, in an error, or in another attempt. On the wire thread."""

from typing import TYPE_CHECKING

from ...transport.address import ProcessAddress
from .. import ids
from ..contract import Outcome, Value
from ..serialization import serialize_error
from .entry import FAILED, PENDING, STORED
from .task_failure import cancelled_error
from .task_record import TaskRecord

if TYPE_CHECKING:
    from .hub import Hub
    from .stream import Stream


class Completion:
    """Turns outcomes into ready objects or further attempts, and has lost objects made again."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub

    def conclude(self, record: TaskRecord, outcome: Outcome, worker: ProcessAddress) -> None:
        """Make a task's results ready, or run it again."""
        self.take_borrows(outcome, worker)
        if outcome.status == "ok":
            self._succeed(record, outcome)
        elif outcome.status == "cancelled":
            self.fail(record, cancelled_error(record))
        elif self.is_to_be_repeated(record, outcome):
            record.attempt += 1
            self._hub.submission.run_again(record)
        else:
            self.finish(record, outcome.returns[0].data, raised=True)

    def is_to_be_repeated(self, record: TaskRecord, outcome: Outcome) -> bool:
        """Whether a task has failed in a way for which it may run again."""
        return outcome.retryable and not record.cancelled and self.may_retry(record)

    def take_borrows(self, outcome: Outcome, worker: ProcessAddress) -> None:
        """Count what a worker keeps of a task's arguments; before they are let go."""
        for object_id in outcome.borrows:
            entry = self._hub.table.find(object_id)
            if entry is not None:
                self._hub.borrowing.lend(entry, worker, 1)

    def _succeed(self, record: TaskRecord, outcome: Outcome) -> None:
        borrowing = self._hub.borrowing
        lineage = False
        results = record.results
        for index, value in enumerate(outcome.returns):
            entry = results[index] if index < len(results) else None
            if entry is None or not self._hub.recovery.made(entry, value):
                borrowing.discard(ids.object_id(record.task_id, index + 1), value)
        for entry in results:
            if entry.state == STORED or (record.attempt and self._hub.lineage.is_needed(entry)):
                lineage |= entry.producer is not None
            else:
                entry.producer = None
        if record.generator is None:
            self._release(record, keep=lineage and record.template.max_retries != 0)
        else:
            self._stream_ended(record, record.generator)

    def _stream_ended(self, record: TaskRecord, stream: "Stream") -> None:
        stream.ended(None)
        self._release(record, keep=stream.has_items())
        passed = stream.missing()
        if passed and not self.again(record):
            for entry in passed:
                self._hub.recovery.give_up(entry, record)

    def discard(self, record: TaskRecord, outcome: Outcome, worker: ProcessAddress) -> None:
        """An outcome has come for a task that has ended already (its actor was killed): take back what is in it."""
        self.take_borrows(outcome, worker)
        for index, value in enumerate(outcome.returns, 1):
            self._hub.borrowing.discard(ids.object_id(record.task_id, index), value)

    def may_retry(self, record: TaskRecord) -> bool:
        """Whether a task has attempts left."""
        limit = record.template.max_retries
        return limit < 0 or record.attempt < limit

    def again(self, record: TaskRecord) -> bool:
        """Have a lost result made again, with all it came from that is gone; False when its task may not run again."""
        if not self._may_begin_again(record):
            return False
        if not record.ended:
            return True  # it runs already, because another one was lost
        lost = [record]
        record.ended = False
        while lost:
            one = lost.pop()
            one.attempt += 1
            for entry in self._hub.lineage.recall(one):
                producer: TaskRecord | None = entry.producer
                if entry.state == FAILED or producer is None or not self._may_begin_again(producer):
                    self._hub.recovery.give_up(entry, producer)
                elif producer.ended:
                    producer.ended = False
                    lost.append(producer)
            if one.actor_id:
                self._hub.actors.client(one.actor_id, "").again(one)
            else:
                self._hub.submission.run_again(one)
        return True

    def _may_begin_again(self, record: TaskRecord) -> bool:
        if record.template.max_retries == 0 or record.evicted:
            return False
        return not record.ended or self.may_retry(record)

    def fail(self, record: TaskRecord, error: BaseException) -> None:
        """End a task with an error of the runtime's own."""
        self.finish(record, serialize_error(error))

    def finish(self, record: TaskRecord, error: bytes, raised: bool = False) -> None:
        """End a task with an error for each of its results; `raised`: by the user's code."""
        if record.generator is not None:
            record.generator.ended(error, raised=raised)
        for entry in record.results:
            if entry.state == PENDING:
                self._hub.unseen.watch(entry, error)
                self._hub.borrowing.complete(entry, Value("e", error))
            entry.producer = None
        # Of a generator that failed, the items that came before may have to be made again.
        self._release(record, keep=record.generator is not None and record.generator.has_items())

    def _release(self, record: TaskRecord, keep: bool) -> None:
        """Let go of what the task needed, unless a result of it may have to be made again."""
        record.ended = True
        record.lease = record.held_actor = None
        if keep:
            self._hub.lineage.remember(record)
        else:
            record.generator = None
            record.dependencies = record.nested = record.stored_args = None
            record.results = []
