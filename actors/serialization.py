"""Values as bytes: what travels as argument, result or stored object.

A value becomes a pickle (protocol 5) and the large buffers in it, which stay where they are until somebody copies them
to where they belong. The refs that the value contains are listed, because whoever keeps the bytes must keep them alive.
"""

import pickle
from collections.abc import Sequence
from typing import Any

import msgspec

from .pickling.contained import note_pickled, note_unpickled, notes, recording
from .pickling.diagnosis import explain, inspect_serializability
from .pickling.failure import describe_failure, deserialize_error, serialize_error
from .pickling.pickler import dump
from .pickling.reducer import deregister_serializer, register_serializer
from .pickling.tensor import set_private_view

__all__ = [
    "Serialized",
    "deregister_serializer",
    "describe_failure",
    "deserialize",
    "deserialize_error",
    "inspect_serializability",
    "note_pickled",
    "note_unpickled",
    "recording",
    "register_serializer",
    "serialize",
    "serialize_args",
    "serialize_error",
    "set_private_view",
]

_ATOMS = frozenset({type(None), bool, int, float, str, bytes})
_FEW = 32
_PICKLING_MODULES = frozenset({__name__.partition(".")[0], "cloudpickle", "pickle", "copyreg", "_pickle"})
"""Containers of more items are cheaper to give to the pickler than to look through."""
_LARGE_BYTES = 64 * 1024


class Serialized(msgspec.Struct, frozen=True, gc=False):
    """A value as bytes.

    Attributes:
        data: the pickle.
        buffers: contiguous one-dimensional views of bytes, in the order the pickle wants them back. They are the
            memory of the value itself: copy them out before the value can change.
        refs: the ObjectRefs the value contains, one for each occurrence.
        size: bytes of `data` and `buffers` together.
    """

    data: bytes
    buffers: list[memoryview]
    refs: list[Any]
    size: int


def serialize(value: Any, name: str = "the value") -> Serialized:
    """Serialize a value.

    Args:
        value: anything cloudpickle takes, and what `register_serializer` adds.
        name: what the value is, for the error: "argument x of task f".

    Raises:
        TypeError: it cannot be pickled; the message names the attribute, item or captured variable that cannot.
        Exception: what the value's own `__reduce__` or `__getstate__` raises, with a note that says where.
    """
    cls = type(value)
    if cls in _ATOMS:
        if cls is bytes and len(value) >= _LARGE_BYTES:
            return _serialize(_without_copy(value), name)
    elif not _is_flat(cls, value):
        return _serialize(value, name)
    data = pickle.dumps(value, 5)
    return Serialized(data, [], [], len(data))


def serialize_args(args: tuple[Any, ...], kwargs: dict[str, Any], name: str = "the call") -> Serialized:
    """Serialize the arguments of a call to the task or method `name`; `deserialize` gives back `(args, kwargs)`.

    Raises:
        TypeError: as `serialize`.
    """
    if len(args) + len(kwargs) <= _FEW and _are_atoms(args) and _are_atoms(kwargs.values()):
        data = pickle.dumps((args, kwargs), 5)
        return Serialized(data, [], [], len(data))
    roots = {f"args[{index}]": arg for index, arg in enumerate(args)} | kwargs
    args = tuple([_without_copy(arg) for arg in args])
    kwargs = {key: _without_copy(arg) for key, arg in kwargs.items()}
    return _serialize((args, kwargs), f"the arguments of {name}", roots)


def deserialize(data: Any, buffers: Sequence[Any] = (), refs: list[Any] | None = None) -> Any:
    """The value that `serialize` took apart.

    Args:
        data: the pickle: bytes, or a view of them.
        buffers: what `Serialized.buffers` held, as read-only views; arrays refer to this memory while they live.
        refs: gets the ObjectRefs that the value brought along, one for each occurrence.

    Raises:
        Exception: what unpickling raises, for example ModuleNotFoundError, with a note that says what to do.
    """
    try:
        if refs is None:
            return pickle.loads(data, buffers=buffers)
        outer, notes.unpickled = notes.unpickled, refs
        try:
            return pickle.loads(data, buffers=buffers)
        finally:
            notes.unpickled = outer
    except (ImportError, AttributeError) as exc:
        exc.add_note(
            "This was raised while unpickling a value that another process sent. What it names must be importable "
            "here as it was there: ship it with runtime_env={'working_dir': ...} or 'py_modules', or install it."
        )
        raise


class _LargeBytes:
    """Bytes whose content leaves the pickle as a buffer."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (pickle.PickleBuffer(self.content),)


def _without_copy(value: Any) -> Any:
    return _LargeBytes(value) if type(value) is bytes and len(value) >= _LARGE_BYTES else value


def _serialize(value: Any, name: str, roots: dict[str, Any] | None = None) -> Serialized:
    refs: list[Any] = []
    buffers: list[memoryview] = []
    outer, notes.pickled = notes.pickled, refs
    try:
        data = dump(value, buffers)
    except Exception as exc:
        error = explain(value, exc, name, roots)
        if error is exc:
            raise
        # The error says all; where users' code raised, they want to see where.
        raise error from (exc if _is_of_users_code(exc) else None)
    finally:
        notes.pickled = outer
    size = len(data)
    for buffer in buffers:
        size += buffer.nbytes
    return Serialized(data, buffers, refs, size)


def _is_of_users_code(exc: Exception) -> bool:
    """Whether it was raised in other code than that which pickles."""
    frame = exc.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    module: str = "" if frame is None else frame.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] not in _PICKLING_MODULES


def _are_atoms(items: Any) -> bool:
    for item in items:
        cls = type(item)
        if cls not in _ATOMS:
            if not _is_flat(cls, item):
                return False
        elif cls is bytes and len(item) >= _LARGE_BYTES:
            return False
    return True


def _is_flat(cls: type, value: Any) -> bool:
    return (cls is tuple and _hold_atoms(value, value)) or (cls is dict and _hold_atoms(value, value.values()))


def _hold_atoms(container: Any, items: Any) -> bool:
    if len(container) > _FEW:
        return False
    for item in items:
        if type(item) not in _ATOMS:
            return False
    if items is not container:
        for key in container:
            if type(key) not in _ATOMS:
                return False
    return True
