"""Pickling exceptions so that they come back whole.

`BaseException.__reduce__` calls the class with `args` when it is unpickled, which fails for every class whose
constructor takes something else, and forgets what lives in slots. Here an exception is made again without its
constructor: by the first `__new__` written in C among its bases, then `args`, `__dict__` and the C or slot members.
"""

import contextlib
import copyreg
from types import BuiltinFunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, cast

_HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE. In the static types of C, None is how an empty field reads, and must not be written to it."""

_NOT_STATE = frozenset({"__dict__", "__weakref__", "__notes__"})
_HOOKS = ("__reduce__", "__reduce_ex__", "__setstate__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")


def reduce_exception(exc: BaseException) -> tuple[Any, ...]:
    """A pickle reduction of `exc` that needs no constructor.

    Where the class, or `copyreg`, says how it is pickled, that is respected.
    """
    if _has_own_pickling(type(exc)):
        return exc.__reduce_ex__(4)  # pyright: ignore[reportReturnType]  # a string means a global; exceptions are none
    return reduce_without_constructor(exc)


def reduce_without_constructor(exc: BaseException) -> tuple[Any, ...]:
    """A pickle reduction of `exc` by its parts, whatever pickling its class defines."""
    args = exc.args
    if isinstance(exc, BaseExceptionGroup) and len(args) == 2:  # noqa: PLR2004  # (message, exceptions)
        args = (args[0], [Carried(inner) for inner in cast("BaseExceptionGroup[BaseException]", exc).exceptions])
    return new_exception, (type(exc), args), (exc.__dict__, native_members(exc)), None, None, restore_state


class Carried:
    """Pickles as the exception it carries, by `reduce_exception`, so that any pickler gets it across."""

    def __init__(self, exc: BaseException) -> None:
        self.exc = exc

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_exception(self.exc)


def new_exception(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An instance of `cls` with those `args` on which no Python code of the class has run."""
    refusal = TypeError(f"{cls!r} is not an exception class.")
    for base in cls.__mro__:
        new = base.__dict__.get("__new__")
        if isinstance(new, BuiltinFunctionType):
            try:
                exc = new(cls, *args)
            except TypeError as error:  # not safe for this class: several bases have one, and another's is its own
                refusal = error
                continue
            exc.args = args
            return exc
    raise refusal


def restore_state(exc: BaseException, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Put back what the exception kept in `__dict__`, and outside it (`native_members`)."""
    attributes, members = state
    # cloudpickle makes classes without their slots: what a worker has in `__dict__`, the class here may have in a slot.
    slots = {name: attributes[name] for name in attributes if isinstance(_of_class(exc, name), MemberDescriptorType)}
    exc.__dict__.update(
        {name: value for name, value in attributes.items() if name not in slots} if slots else attributes
    )
    for name, value in (members | slots).items():
        # Members of C types may be read-only (ExceptionGroup.exceptions): their `__new__` has set those from `args`.
        with contextlib.suppress(AttributeError, TypeError):
            setattr(exc, name, value)


def _of_class(exc: BaseException, name: str) -> Any:
    return getattr(type(exc), name, None)


def native_members(exc: BaseException) -> dict[str, Any]:
    """What the exception keeps outside `__dict__`: slots, and C fields such as `OSError.errno`."""
    found: dict[str, Any] = {}
    for base in type(exc).__mro__:
        if base is BaseException:
            break
        if base is BaseExceptionGroup:  # its members are its args
            continue
        for name, kind in base.__dict__.items():
            if name in _NOT_STATE or not isinstance(kind, MemberDescriptorType | GetSetDescriptorType):
                continue
            if base is AttributeError and name == "obj":  # any object at all; Python's own pickling leaves it out too
                continue
            with contextlib.suppress(AttributeError, TypeError):  # not set
                value = kind.__get__(exc, type(exc))
                if value is not None or base.__flags__ & _HEAP_TYPE:
                    found.setdefault(name, value)
    return found


def _has_own_pickling(cls: type[BaseException]) -> bool:
    """Whether someone wrote pickling for this class: then theirs is used."""
    if cls in copyreg.dispatch_table:
        return True
    for base in cls.__mro__:
        if base in (BaseException, object):
            return False
        if base.__module__ != "builtins" and any(hook in base.__dict__ for hook in _HOOKS):
            return True
    return False
