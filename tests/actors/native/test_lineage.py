"""What is remembered of tasks that have ended, so that their results can be made again, and how much of it."""

import sys
from types import SimpleNamespace

import pytest

from limelight.actors.contract import Location
from limelight.actors.native.completion import Completion
from limelight.actors.native.entry import FAILED, PENDING, STORED, ObjectEntry
from limelight.actors.native.lineage import Lineage
from limelight.actors.native.object_table import ObjectTable
from limelight.actors.native.recovery import Recovery
from limelight.actors.native.task_record import TaskRecord
from limelight.actors.serialization import deserialize_error
from limelight.exceptions import (
    ObjectReconstructionFailedLineageEvictedError,
    ObjectReconstructionFailedMaxAttemptsExceededError,
)

SIZE = 1000


class Caller:
    """A process that submits tasks, with everything but the parts that remember taken away. Tasks run when told to.

    Attributes:
        stored: objects that take memory.
        queue: tasks that are to run.
    """

    def __init__(self, most=1 << 30):
        self.stored = set()
        self.queue = []
        self.number = 0
        self.lineage = Lineage(most)
        loop = SimpleNamespace(call_later=lambda _, function: function())
        wire = SimpleNamespace(post=lambda function, argument: function(argument), loop=loop)
        self.table = ObjectTable(wire, lambda object_id, _: self.stored.discard(object_id), self.lineage.freed)
        self.table.is_kept, self.lineage.table = self.lineage.keeps, self.table
        self.submission = SimpleNamespace(run_again=self.queue.append)
        self.borrowing = SimpleNamespace(complete=self.complete)
        self.recovery = Recovery(self)
        self.completion = Completion(self)

    def complete(self, entry, value):
        self.store(entry, value)

    def store(self, entry, _=None):
        self.stored.add(entry.object_id)
        entry.complete(STORED, b"", Location(b"a" * 28, len(self.stored), SIZE))
        self.table.track(entry)
        self.table.free_if_unused(entry)

    def put(self):
        entry = self.entry()
        ref = self.table.new_ref(entry)
        self.store(entry)
        return ref

    def entry(self):
        self.number += 1
        return ObjectEntry(self.table, self.number.to_bytes(28))

    def task(self, *arguments, max_retries=3):
        """The result of a task that has run."""
        template = SimpleNamespace(max_retries=max_retries, wire=SimpleNamespace(name="step"), alone=False)
        record = TaskRecord(b"", template, b"", list(arguments), None)
        entry = self.entry()
        entry.producer = record
        record.results.append(entry)
        ref = self.table.new_ref(entry)
        self.run(record)
        return ref

    def is_ready(self, record):
        return all(argument._entry.state == STORED for argument in record.dependencies)

    def run(self, record):
        [entry] = record.results
        self.store(entry)
        self.completion._release(record, keep=entry.producer is not None and record.template.max_retries != 0)

    def lose(self, ref):
        """The bytes of an object are gone; makes it again, as far as that goes; how many tasks have run for it."""
        entry = ref._entry
        self.stored.discard(entry.object_id)
        self.recovery.recover(entry, entry.location)
        ran = 0
        while self.queue:
            ready = next(record for record in reversed(self.queue) if self.is_ready(record))
            self.queue.remove(ready)
            self.run(ready)
            ran += 1
        return ran


def error_of(ref):
    assert ref._entry.state == FAILED
    return deserialize_error(ref._entry.data)


@pytest.fixture
def caller():
    return Caller()


def test_arguments_that_nobody_holds_are_freed_and_made_again_when_they_are_needed(caller):
    state = caller.task()
    for _ in range(10):
        state = caller.task(state)
    assert caller.stored == {state.binary()}
    assert caller.lose(state) == 11
    assert caller.stored == {state.binary()}


def test_arguments_that_somebody_holds_are_used_as_they_are(caller):
    first = caller.task()
    second = caller.task(first, first)
    assert caller.lose(second) == 1
    assert caller.stored == {first.binary(), second.binary()}


def test_an_argument_of_two_is_made_once(caller):
    first = caller.task()
    second, third = caller.task(first), caller.task(first)
    last = caller.task(second, third)
    del first, second, third
    assert caller.stored == {last.binary()}
    assert caller.lose(last) == 4


def test_what_cannot_be_made_again_is_kept_for_what_can(caller):
    state = caller.task(caller.put(), caller.task(max_retries=0))
    assert len(caller.stored) == 3
    assert caller.lose(state) == 1
    del state
    assert not caller.stored
    assert not caller.lineage.held


def test_nothing_is_remembered_of_what_nobody_holds(caller):
    states = [caller.task()]
    for _ in range(5 * sys.getrecursionlimit()):
        states = [caller.task(states[0])]
    assert caller.lineage.held
    states.clear()
    assert not caller.stored
    assert not caller.lineage.held


def test_a_chain_of_any_length_is_made_again(caller):
    length = 5 * sys.getrecursionlimit()
    state = caller.task()
    for _ in range(length):
        state = caller.task(state)
    assert caller.lose(state) == length + 1


def test_no_task_runs_more_often_than_it_may(caller):
    state = caller.task(caller.task(max_retries=1), max_retries=-1)
    assert caller.lose(state) == 2
    caller.queue = []
    caller.submission.run_again = lambda _: None  # its argument has failed, and so will it
    caller.lose(state)
    argument = state._entry.producer.dependencies[0]
    assert isinstance(error_of(argument), ObjectReconstructionFailedMaxAttemptsExceededError)
    assert state._entry.state == PENDING


def test_more_is_forgotten_than_may_be_remembered_the_oldest_first():
    caller = Caller(most=20_000)
    old = caller.task()
    states = [caller.task() for _ in range(100)]
    assert caller.lineage.held <= 20_000
    assert caller.lose(states[-1]) == 1
    assert caller.lose(old) == 0
    error = error_of(old)
    assert isinstance(error, ObjectReconstructionFailedLineageEvictedError)
    assert "step" in str(error)
    assert "Hold fewer refs" in str(error)


def test_values_that_are_kept_for_nothing_else_are_forgotten_too():
    caller = Caller(most=20_000)
    states = [caller.task()]
    for _ in range(100):
        states = [caller.task(states[0], caller.put())]
    assert len(caller.stored) < 20
    caller.submission.run_again = lambda _: None
    caller.lose(states[0])
    record, failed = states[0]._entry.producer, []
    while record is not None and not failed:
        failed = [ref for ref in record.dependencies or () if ref._entry.state == FAILED]
        record = record.dependencies[0]._entry.producer
    assert isinstance(error_of(failed[0]), ObjectReconstructionFailedLineageEvictedError)
