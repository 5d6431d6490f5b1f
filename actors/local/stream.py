"""Items of a streaming task of local mode."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...exceptions import RayTaskError
from ..ids import object_id

if TYPE_CHECKING:
    from ..object_ref import ObjectRef
    from .object import LocalObject, ObjectTable

FIRST_ITEM = 2
"""Index of the first item among the task's objects; 1 is the ref that says the task has ended."""


class LocalStream:
    """Items that were made and not yet taken, and the way to more. The `_entry` of an ObjectRefGenerator.

    A plain generator makes items while there is room (`backpressure`), at once and then whenever one is taken. An
    asynchronous one is a coroutine on the loop, which waits for room.
    """

    def __init__(self, table: "ObjectTable", task_id: bytes, name: str, limit: int, completed: "LocalObject") -> None:
        self._table = table
        self._task_id = task_id
        self._name = name
        self._limit = limit
        self._count = 0
        self._items: deque[ObjectRef[Any]] = deque()
        self._callbacks: list[Callable[[], object]] = []
        self._completed = completed
        self.resume: Callable[[], None] = _nothing

    def dropped(self) -> None:
        """The generator was garbage collected; the task ends by itself, as in a cluster."""

    @property
    def ended(self) -> bool:
        """No more items will come."""
        return self._completed.done

    @property
    def ready(self) -> bool:
        """Whether `take` would not have to wait."""
        return bool(self._items) or self.ended

    @property
    def full(self) -> bool:
        """Whether the producer must wait."""
        return 0 < self._limit <= len(self._items)

    def take(self) -> "ObjectRef[Any] | None":
        """The next item's ref; None at the end. Makes room, so that the producer goes on."""
        if not self._items:
            return None
        item = self._items.popleft()
        self.resume()
        return item

    def add(self, value: Any) -> None:
        """Add an item. Raises TypeError when it cannot be pickled."""
        ref, item = self._next()
        item.set_value(value, f"an item of {self._name}")
        self._publish(ref, item)

    def fail(self, error: Any) -> None:
        """End with an error, as the last item."""
        ref, item = self._next()
        item.set_error(error)
        self._publish(ref, item)
        if not isinstance(error, RayTaskError):  # as in a cluster: not what the user's code raised, which is an item
            self._completed.set_error(error)
            self._completed.finish()
        self.end()

    def end(self) -> None:
        """No more items."""
        self.resume = _nothing
        if not self._completed.done:
            self._completed.set_value(None, "None")
            self._completed.finish()
        self._tell()

    def on_ready(self, callback: Callable[[], object]) -> None:
        """Call back when `take` would not have to wait."""
        if self.ready:
            callback()
        else:
            self._callbacks.append(callback)

    def forget(self, callback: Callable[[], object]) -> None:
        """Call back no more."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def _next(self) -> "tuple[ObjectRef[Any], LocalObject]":
        made = self._table.create(object_id(self._task_id, FIRST_ITEM + self._count))
        self._count += 1
        return made

    def _publish(self, ref: "ObjectRef[Any]", item: "LocalObject") -> None:
        item.finish()
        self._items.append(ref)
        self._tell()

    def _tell(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


def _nothing() -> None:
    """What there is to resume when nobody produces."""
