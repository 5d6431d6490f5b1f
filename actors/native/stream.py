"""Generators, on the caller's side: items as they arrive, in order, each once."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...exceptions import GetTimeoutError, ObjectLostError
from ...transport.protocol import Item
from .. import ids
from ..contract import Value, decoder_of
from ..object_ref import ObjectRef
from ..object_ref_generator import DynamicObjectRefGenerator
from ..serialization import serialize, serialize_error
from .entry import FAILED, PENDING, ObjectEntry
from .task_record import TaskRecord
from .value_codec import to_inline

if TYPE_CHECKING:
    from .hub import Hub


class Stream:
    """The refs that a generator task has yielded and its consumer has not taken.

    Items arrive on the wire thread, the consumer may be any thread. A generator is taken to yield the same items again
    when it runs again. Where it does because its worker died, items that had arrived already are skipped. Where it does
    because stored ones of them were lost with a node, those are made good, and all others skipped.
    """

    def __init__(self, hub: "Hub", record: TaskRecord, completed: ObjectEntry, dynamic: bool) -> None:
        self._hub = hub
        self._record = record
        self._completed = completed
        self._dynamic = dynamic
        self._refs: deque[ObjectRef[Any]] = deque()
        self._received = 0
        self._next = 0  # of the present run
        self._items: dict[int, ObjectEntry] = {}  # those that can be lost, and made again
        self._passed: set[int] = set()  # those that were lost when the present run had yielded them already
        self._ended = False
        self._wanted = True
        self._changed = threading.Condition()
        self._callbacks: list[Callable[[], None]] = []

    # --- wire thread ---

    def __call__(self, item: Item) -> None:
        """An item has arrived."""
        object_id = ids.object_id(self._record.task_id, item.index + 1)
        value: Value = decoder_of(Value).decode(item.body)
        self._next = item.index + 1
        if item.index < self._received or self._ended:
            known = self._items.get(item.index)
            if known is None or not self._hub.recovery.made(known, value):
                self._hub.borrowing.discard(object_id, value)
            if self._ended or item.index < self._received - len(self._refs):
                self._credit()  # it was taken in an earlier run, whose worker was told so, and not this one
            return
        self._received = item.index + 1
        entry = ObjectEntry(self._hub.table, object_id)
        ref = self._hub.table.new_ref(entry)
        if value.kind == "s":
            entry.producer = self._record
            if self._record.template.max_retries != 0:
                self._items[item.index] = entry
        self._hub.borrowing.complete(entry, value)
        self._add(ref)

    def has_items(self) -> bool:
        """Whether there are items that may have to be made again."""
        return bool(self._items)

    def forget(self, entry: ObjectEntry) -> None:
        """Nobody needs an item any more."""
        self._items.pop(_index(entry), None)

    def lost(self, entry: ObjectEntry) -> None:
        """An item is to be made again: by the present run, unless that is past it, or by the next."""
        if not self._record.ended and _index(entry) < self._next:
            self._passed.add(_index(entry))

    def missing(self) -> list[ObjectEntry]:
        """Lost items that the last run was past when they were: they need another one."""
        passed, self._passed = self._passed, set()
        self._next = 0
        entries = [self._items.get(index) for index in passed]
        return [entry for entry in entries if entry is not None and entry.state == PENDING]

    def ended(self, error: bytes | None, raised: bool = False) -> None:
        """The task has ended; with an error, that becomes the last item, and that of those it was to make again.

        What the user's code raised (`raised`) is nothing but the last item: the task has been completed.
        """
        for index, entry in list(self._items.items()):
            if entry.state == PENDING and (error is not None or index not in self._passed):
                entry.producer = None
                del self._items[index]
                self._hub.borrowing.complete(entry, Value("e", error or self._not_again(entry)))
        if error is not None:
            self._next = 0
            self._passed.clear()
        if self._ended:
            return
        self._completed.producer = None
        if self._dynamic:
            self._end_dynamic(error)
            return
        if error is not None:
            entry = ObjectEntry(self._hub.table, ids.object_id(self._record.task_id, self._received + 1))
            entry.complete(FAILED, error)
            self._add(self._hub.table.new_ref(entry), last=True)
        else:
            self._add(None, last=True)
        self._complete(None if raised else error, _NONE)

    def _not_again(self, entry: ObjectEntry) -> bytes:
        reason = (
            f"the node that held its only copy is lost, and {self._record.template.wire.name}, which has run again for "
            "it, did not yield it this time; lost items can be made good where a generator yields the same each time"
        )
        return serialize_error(ObjectLostError(entry.object_id.hex(), reason=reason))

    def _end_dynamic(self, error: bytes | None) -> None:
        self._ended = True
        value = _NONE
        if error is None:
            value = to_inline(serialize(DynamicObjectRefGenerator(list(self._refs))))
            self._completed.contained = list(self._refs)
        self._refs.clear()
        self._complete(error, value)

    def _complete(self, error: bytes | None, value: bytes) -> None:
        self._hub.borrowing.complete(self._completed, Value("i", value) if error is None else Value("e", error))

    def _add(self, ref: ObjectRef[Any] | None, last: bool = False) -> None:
        with self._changed:
            if ref is not None and (self._wanted or self._dynamic):
                self._refs.append(ref)
            self._ended = last
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            callback()
        if not self._wanted and not last:
            self._credit()

    # --- any thread ---

    def ready(self) -> bool:
        """Whether `take` would not wait."""
        return bool(self._refs) or self._ended

    def take(self, timeout: float | None) -> ObjectRef[Any] | None:
        """The next ref, or None at the end.

        Raises:
            GetTimeoutError: there was none within `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._refs:
                if self._ended:
                    return None
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise GetTimeoutError(
                        f"{self._record.template.wire.name} has yielded no further item within {timeout} s."
                    )
                self._changed.wait(left)
            ref = self._refs.popleft()
        if self._record.template.backpressure:
            self._hub.wire.post(lambda _: self._credit(), None)
        return ref

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call back once when `take` would not wait."""
        with self._changed:
            if not self.ready():
                self._callbacks.append(callback)
                return
        callback()

    def forget_waiter(self, callback: Callable[[], None]) -> None:
        """Do not call back any more. Nothing where it was called."""
        with self._changed:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def dropped(self) -> None:
        """Nobody will take items any more: let the task run on, and forget what it yields."""
        self._wanted = False
        self._hub.wire.post(lambda _: self._forget(), None)

    def _forget(self) -> None:
        taken = len(self._refs)
        self._refs.clear()
        self._credit(taken + 1)

    def _credit(self, count: int = 1) -> None:
        lease = self._record.lease
        link = lease.link if lease is not None and self._record.template.backpressure else None
        if link is not None:  # else its actor is being restarted, and all that was taken is credited in the next run
            link.channel.credit(self._record.call_id, count)


def _index(item: ObjectEntry) -> int:
    """Which of its generator's items an entry is."""
    return ids.index_of(item.object_id) - 1


_NONE = to_inline(serialize(None))
