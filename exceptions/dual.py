"""Making an error that is both a RayTaskError and an instance of the user's exception class."""

import asyncio
import types
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from .rebuild import Carried, native_members, new_exception, restore_state

if TYPE_CHECKING:
    from .task import RayTaskError

_CONTROL = (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)
# A class lives as long as an instance of it does: exception classes of notebooks and by-value pickles are not kept.
_classes: WeakValueDictionary[type[BaseException], type[BaseException]] = WeakValueDictionary()


def dual_exception(error: "RayTaskError") -> "RayTaskError":
    """A new error that is an instance of RayTaskError and, where that can be, of `type(error.cause)`.

    No code of the user's class runs, except what a metaclass or `__init_subclass__` does; if that raises, or the class
    cannot be combined, the result is a plain RayTaskError.
    """
    origin = _origin(error)
    cause = origin.cause
    plain = type(origin)
    if isinstance(cause, (plain, *_CONTROL)):
        return _copy(origin)
    try:
        made = new_exception(_dual_class(plain, type(cause)), cause.args)
    except Exception:  # noqa: BLE001  # metaclasses, __init_subclass__ and C constructors may refuse in any way
        return _copy(origin)
    state = {**origin.__dict__, **cause.__dict__, "cause": cause, "_origin": origin}
    # Those in the remote traceback would be printed twice.
    notes = [note for note in state.pop("__notes__", ()) if str(note) not in origin.traceback_str]
    if notes:
        state["__notes__"] = notes
    restore_state(made, (state, native_members(cause)))
    return cast("RayTaskError", made)


def reduce_task_error(error: "RayTaskError") -> tuple[Any, ...]:
    """How a RayTaskError, plain or dual, is pickled."""
    origin = _origin(error)
    fields = {name: value for name, value in origin.__dict__.items() if name != "cause"}
    return _revive, (type(origin), fields, Carried(origin.cause), error is not origin)


def _revive(cls: "type[RayTaskError]", fields: dict[str, Any], cause: BaseException, dual: bool) -> "RayTaskError":
    error = _assemble(cls, {**fields, "cause": cause})
    return dual_exception(error) if dual else error


def _origin(error: "RayTaskError") -> "RayTaskError":
    return error.__dict__.get("_origin", error)


def _copy(error: "RayTaskError") -> "RayTaskError":
    return _assemble(type(error), error.__dict__)


def _assemble(cls: "type[RayTaskError]", fields: dict[str, Any]) -> "RayTaskError":
    args = (fields["function_name"], fields["traceback_str"], fields["cause"])
    made = new_exception(cls, args)
    restore_state(made, (fields, {}))
    return cast("RayTaskError", made)


def _dual_class(plain: "type[RayTaskError]", user: type[BaseException]) -> type[BaseException]:
    known = _classes.get(user)
    if known is not None:
        return known

    def body(namespace: dict[str, Any]) -> None:
        namespace["__module__"] = plain.__module__
        namespace["__qualname__"] = f"{plain.__name__}({user.__name__})"
        namespace["__doc__"] = f"A {user.__qualname__} that a task raised."
        namespace["__str__"] = lambda self: str(self._origin)
        namespace["__repr__"] = lambda self: f"{type(self).__name__}({self._origin.cause!r})"

    made = types.new_class(f"{plain.__name__}({user.__name__})", (plain, user), exec_body=body)
    _classes[user] = made
    return made
