"""How results could be made again: what ended tasks are remembered for, and how much of that.

A task whose result lies in the store is remembered as long as somebody holds that result, for it may be lost with its
node. To run again the task would need its arguments. These are not kept for that: an argument that nobody else holds is
freed, and what is remembered is how *it* was made, and so on. Otherwise a program of the form `x = step.remote(x)`
would keep every `x` there ever was. When a result is lost, all that it came from is made again, in order
(`Completion.again`).

What cannot be made again (it was put, or its task has no retries) is kept, as long as there is room: values of that
kind and the pickled arguments of remembered tasks take `most` bytes at most. Beyond that the oldest are forgotten, and
what depends on them cannot be made again (ObjectReconstructionFailedLineageEvictedError).
"""

from collections import Counter
from typing import Any

from .entry import FAILED, PENDING, STORED, ObjectEntry
from .object_table import ObjectTable
from .task_record import TaskRecord

MOST_BYTES = 1 << 30
"""How much is kept for nothing but to make lost objects again."""
_RECORD_BYTES = 1024
"""About what a remembered task takes besides its arguments."""


class Lineage:
    """The remembered tasks of a process, and what they would need. On the wire thread.

    Args:
        most: bytes; see above.

    Attributes:
        table: the process's objects.
        held: bytes that are kept at present.
    """

    table: ObjectTable

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self.held = 0
        self._needed: Counter[ObjectEntry] = Counter()  # by how many remembered tasks
        self._charged: dict[TaskRecord | ObjectEntry, int] = {}  # in the order in which they will be forgotten
        self._evicted: ObjectEntry | None = None  # is being freed although it is needed
        self._unneeded: list[ObjectEntry] = []
        self._forgetting = False

    # --- remembering ---

    def remember(self, record: TaskRecord) -> None:
        """A task has ended that may have to run again: let go of its arguments, but for how they were made."""
        for refs in (record.dependencies, record.nested):
            for index, ref in enumerate(refs or ()):
                entry: ObjectEntry = ref._entry
                if entry.owner is None and entry.state == STORED:
                    self._needed[entry] += 1
                    refs[index] = entry  # type: ignore[index] - it is not None here
        stored = record.stored_args._entry.location if record.stored_args is not None else None
        self._charge(record, _RECORD_BYTES + len(record.args) + (stored.size if stored else 0))

    def is_needed(self, entry: ObjectEntry) -> bool:
        """Whether a remembered task would need an object."""
        return entry in self._needed

    def keeps(self, entry: ObjectEntry) -> bool:
        """Whether a stored object that nobody else holds stays, as it is needed here and cannot be made again."""
        if entry not in self._needed or entry is self._evicted or entry.count or entry.borrowers:
            return False
        if _can_be_made(entry):
            return False
        if entry not in self._charged:
            self._charge(entry, entry.location.size if entry.location is not None else 0)
        return entry in self._charged

    def freed(self, entry: ObjectEntry) -> None:
        """An object was freed: how it was made is forgotten, unless a remembered task would need it."""
        if entry not in self._needed:
            self.forget_producer(entry)
            return
        entry.state = PENDING if _can_be_made(entry) else FAILED
        entry.location = entry.near = entry.copies = None
        entry.tracked = False

    # --- making again ---

    def recall(self, record: TaskRecord) -> list[ObjectEntry]:
        """A remembered task is to run again: hold its arguments; returns those that have to be made, too."""
        self._discharge(record)
        gone: list[ObjectEntry] = []
        for refs in (record.dependencies, record.nested):
            for index, entry in enumerate(refs or ()):
                if isinstance(entry, ObjectEntry):
                    if not entry.tracked and entry.state != STORED:
                        gone.append(entry)
                    refs[index] = self.table.held_again(entry)  # type: ignore[index] - it is not None here
                    self._release(entry)
        return gone

    # --- forgetting ---

    def forget(self, record: TaskRecord) -> None:
        """A task will not run again: what it would need is not needed for it."""
        self._discharge(record)
        needed = [
            entry
            for refs in (record.dependencies, record.nested)
            for entry in refs or ()
            if isinstance(entry, ObjectEntry)
        ]
        record.dependencies = record.nested = record.stored_args = None
        record.results = []
        self._unneeded += needed
        if self._forgetting:
            return
        self._forgetting = True  # link by link: a chain of tasks may be longer than calls can be nested
        try:
            while self._unneeded:
                self._release(self._unneeded.pop())
        finally:
            self._forgetting = False

    def _release(self, entry: ObjectEntry) -> None:
        """A remembered task does not need an object any more."""
        self._needed[entry] -= 1
        if self._needed[entry] > 0:
            return
        del self._needed[entry]
        self._discharge(entry)
        if entry.tracked:
            self.table.free_if_unused(entry)
        else:
            self.forget_producer(entry)

    def forget_producer(self, entry: ObjectEntry) -> None:
        """An object will not be made again: its task is forgotten, unless it made others that may be."""
        record: TaskRecord | None = entry.producer
        entry.producer = None
        if record is None:
            return
        if record.generator is not None:
            record.generator.forget(entry)
            if record.generator.has_items() or not record.ended:
                return
            record.generator = None
        if all(result.producer is None for result in record.results):
            self.forget(record)

    # --- how much ---

    def _charge(self, what: TaskRecord | ObjectEntry, size: int) -> None:
        self._charged[what] = size
        self.held += size
        while self.held > self.most:
            oldest = next(iter(self._charged))
            self._discharge(oldest)
            if isinstance(oldest, TaskRecord):
                self._evict_task(oldest)
            else:
                self._evicted = oldest
                self.table.free_if_unused(oldest)
                self._evicted = None

    def _discharge(self, what: TaskRecord | ObjectEntry) -> None:
        self.held -= self._charged.pop(what, 0)

    def _evict_task(self, record: TaskRecord) -> None:
        results = record.results
        self.forget(record)
        record.evicted = True
        for entry in results:
            if entry in self._needed and entry.state == PENDING:
                entry.state = FAILED


def _can_be_made(entry: ObjectEntry) -> bool:
    record: Any = entry.producer
    return record is not None and record.template.max_retries != 0 and record.generator is None and not record.evicted
