"""Generators, on the caller's side: items as they arrive, in order, each once."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...exceptions import GetTimeoutError
from ...transport.protocol import Item
from .. import ids
from ..contract import Value, decoder_of
from ..object_ref import ObjectRef
from ..object_ref_generator import DynamicObjectRefGenerator
from ..serialization import serialize
from .entry import FAILED, ObjectEntry
from .task_record import TaskRecord
from .value_codec import to_inline

if TYPE_CHECKING:
    from .hub import Hub


class Stream:
    """The refs that a generator task has yielded and its consumer has not taken.

    Items arrive on the wire thread, the consumer may be any thread. When the task runs again after its worker died,
    items that had arrived already are skipped: a generator is taken to yield the same items again.
    """

    def __init__(self, hub: "Hub", record: TaskRecord, completed: ObjectEntry, dynamic: bool) -> None:
        self._hub = hub
        self._record = record
        self._completed = completed
        self._dynamic = dynamic
        self._refs: deque[ObjectRef[Any]] = deque()
        self._received = 0
        self._ended = False
        self._wanted = True
        self._changed = threading.Condition()
        self._callbacks: list[Callable[[], None]] = []

    # --- wire thread ---

    def __call__(self, item: Item) -> None:
        """An item has arrived."""
        object_id = ids.object_id(self._record.task_id, item.index + 1)
        value: Value = decoder_of(Value).decode(item.body)
        if item.index < self._received or self._ended:
            self._hub.borrowing.discard(object_id, value)
            if item.index < self._received - len(self._refs):
                self._credit()  # it was taken in an earlier run, whose worker was told so, and not this one
            return
        self._received = item.index + 1
        entry = ObjectEntry(self._hub.table, object_id)
        ref = self._hub.table.new_ref(entry)
        self._hub.borrowing.complete(entry, value)
        self._add(ref)

    def ended(self, error: bytes | None, raised: bool = False) -> None:
        """The task has ended; with an error, that becomes the last item.

        What the user's code raised (`raised`) is nothing but the last item: the task has been completed.
        """
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
        if lease is not None and self._record.template.backpressure:
            lease.link.channel.credit(self._record.call_id, count)


_NONE = to_inline(serialize(None))
