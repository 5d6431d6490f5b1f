"""Objects of local mode: values as they would travel, in a table that holds none of them alive."""

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from ...exceptions import ObjectLostError, RayError, RayTaskError
from ..object_ref import ObjectRef
from ..serialization import deserialize, serialize

Callback = Callable[[], object]


class LocalObject:
    """An object: pending, a value, or an error. Held by its refs (as their `_entry`) and by the call that makes it."""

    __slots__ = ("__weakref__", "_buffers", "_callbacks", "_data", "_error", "_refs", "done", "object_id")

    def __init__(self, object_id: bytes) -> None:
        self.object_id = object_id
        self.done = False
        self._data = b""
        self._buffers: list[bytes] = []
        self._refs: list[Any] = []  # what the value contains must live as long as the value
        self._error: RayError | None = None
        self._callbacks: list[Callback] = []

    @property
    def state(self) -> int:
        """What the runtime of a cluster asks of an object first; this one is none of its session's."""
        raise ObjectLostError(
            self.object_id, reason="it belonged to a session in local mode, which has ended, so make it again"
        )

    def dropped(self) -> None:
        """A ref was garbage collected; nothing to do, as the last one takes the object along."""

    def set_value(self, value: Any, name: str) -> None:
        """Store a copy of the value. Raises TypeError where it cannot be pickled; `finish` must follow."""
        packed = serialize(value, name)
        self._data, self._refs = packed.data, packed.refs
        self._buffers = [bytes(buffer) for buffer in packed.buffers]

    def set_error(self, error: RayError) -> None:
        """Make `get` raise the error; `finish` must follow."""
        self._error = error

    def finish(self) -> None:
        """Let those know who wait."""
        self.done = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_done(self, callback: Callback) -> None:
        """Call back when the object is done; now, if it is."""
        if self.done:
            callback()
            return
        self._callbacks.append(callback)
        if self.done and callback in self._callbacks:  # another thread finished it in between
            self._callbacks.remove(callback)
            callback()

    def value(self) -> Any:
        """A fresh copy of the value, with arrays read-only as in a cluster. Raises the error, if it is one."""
        if isinstance(self._error, RayTaskError):
            raise self._error.as_instanceof_cause()
        if self._error is not None:
            raise self._error.with_traceback(None)  # it is shared, and tracebacks would pile up
        return deserialize(self._data, self._buffers)


class ObjectTable:
    """Finds an object by its id, while somebody holds it."""

    def __init__(self) -> None:
        self._objects: WeakValueDictionary[bytes, LocalObject] = WeakValueDictionary()

    def create(self, object_id: bytes) -> tuple[ObjectRef[Any], LocalObject]:
        """A pending object and the first ref to it."""
        made = self._objects[object_id] = LocalObject(object_id)
        return ObjectRef(object_id, None, made), made

    def ref(self, object_id: bytes) -> ObjectRef[Any]:
        """A ref to an object that somebody holds.

        Raises:
            KeyError: nobody does.
        """
        return ObjectRef(object_id, None, self._objects[object_id])
