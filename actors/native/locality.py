"""Where tasks' large arguments lie, so that workers are had near them, and each gets the tasks that are near it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from .entry import STORED, ObjectEntry
from .task_record import TaskRecord

_TASKS = 16
"""So many of the tasks that go next are looked at: a class with more wants more workers soon, and says so again."""

_ARGUMENTS = 64
"""So many stored arguments of theirs in all."""

_PLACES = 64
"""So many of an argument's copies: what has been broadcast lies on all nodes, and these are enough to go to."""

_WORTHWHILE = 1 << 20
"""Bytes that a node must have more than the caller's own, or fetching them is cheaper than going there."""

_FETCHED = 5e8
"""Bytes that come from another node in a second, about."""

_LEAST_S, _MOST_S = 0.02, 1.0
"""A lease on another node is not had sooner than in a few round trips, and one that takes longer does not come."""


def locality(tasks: Iterable[TaskRecord], home: bytes) -> list[tuple[str, int]]:
    """Bytes of the tasks' stored arguments by node (id in hexadecimal), most first; empty where it does not matter.

    Args:
        tasks: those that go next, in order.
        home: the caller's node.
    """
    held = _held(islice(tasks, _TASKS))
    if not held or max(held.values()) - held[home] < _WORTHWHILE:
        return []
    return [(node_id.hex(), size) for node_id, size in held.most_common()]


def nearest(task: TaskRecord) -> str:
    """The node (id in hexadecimal) that has most bytes of a task's stored arguments; "" where they are few."""
    held = _held((task,))
    node_id, size = max(held.items(), key=lambda item: item[1], default=(b"", 0))
    return node_id.hex() if size >= _WORTHWHILE else ""


def patience(task: TaskRecord, node: str) -> float:
    """Seconds that it would take to have a task's stored arguments at a node (id in hexadecimal); 0.0: hardly any."""
    held = _held((task,))
    here = sum(entry.location.size for entry in _stored((task,)) if entry.location and _is_at(entry, node))
    lacking = max(held.values(), default=0) - here
    return min(max(lacking / _FETCHED, _LEAST_S), _MOST_S) if lacking >= _WORTHWHILE else 0.0


def _held(tasks: Iterable[TaskRecord]) -> "Counter[bytes]":
    held: Counter[bytes] = Counter()
    for entry in _stored(tasks):
        if entry.location is not None:
            held[entry.location.node_id] += entry.location.size
        for location in islice(entry.copies or (), _PLACES):
            held[location.node_id] += location.size
    return held


def _is_at(entry: ObjectEntry, node: str) -> bool:
    """Whether a node (id in hexadecimal) has an object, also where that has more copies than are looked at."""
    if entry.location is not None and entry.location.node_id.hex() == node:
        return True
    return bool(entry.copies) and entry.copies.at(bytes.fromhex(node))


def _stored(tasks: Iterable[TaskRecord]) -> Iterator[ObjectEntry]:
    entries = (
        ref._entry
        for task in tasks
        for ref in (task.stored_args, *(task.dependencies or ()))
        if ref is not None and ref._entry.state == STORED
    )
    return islice(entries, _ARGUMENTS)
