"""How values of particular classes are pickled: the user's serializers, and those of libraries worth the effort.

A reducer takes a value and returns what `__reduce_ex__` would, or NotImplemented for "as usual". It holds for exactly
its class. Reducers of libraries are added when the library has been imported, so that Limelight imports none.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

Reducer = Callable[[Any], Any]

reducers: dict[type, Reducer] = {}
_custom: set[type] = set()
_waiting: dict[str, Callable[[ModuleType], dict[type, Reducer] | None]] = {}


def register_serializer(cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> None:
    """Have instances of `cls` pickled as `deserializer(serializer(instance))`, as Ray's `register_serializer`.

    It holds in this process, for exactly this class. The deserializer travels in the pickle, so that readers need not
    register anything; a process that sends such values itself must register too.

    Args:
        cls: the class.
        serializer: takes an instance, returns something that can be pickled.
        deserializer: takes that, returns an instance.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer needs a class, not {cls!r}.")

    def reduce(value: Any) -> tuple[Any, ...]:
        return deserializer, (serializer(value),)

    reducers[cls] = reduce
    _custom.add(cls)


def deregister_serializer(cls: type) -> None:
    """Undo `register_serializer`. No effect where there is none."""
    if cls in _custom:
        _custom.discard(cls)
        del reducers[cls]


def when_imported(module: str, make: Callable[[ModuleType], dict[type, Reducer] | None]) -> None:
    """Add the reducers that `make(module)` returns once `module` is imported; None asks to be called again later."""
    _waiting[module] = make


def add_imported() -> None:
    """Add the reducers of libraries imported since the last call. Quick when there are none."""
    for name in _waiting:
        if name in sys.modules:
            _add(name)


def _add(name: str) -> None:
    global _waiting
    found = _waiting[name](sys.modules[name])
    if found is not None:
        _waiting = {waiting: make for waiting, make in _waiting.items() if waiting != name}
        for cls, reduce in found.items():
            reducers.setdefault(cls, reduce)
