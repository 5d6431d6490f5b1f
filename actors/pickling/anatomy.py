"""What an object is made of, as pickling sees it: attributes, items, and what a function captures."""

import copyreg
import functools
from collections.abc import Generator, Iterator
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, NamedTuple, cast

from ...exceptions.rebuild import reduce_exception
from .reducer import reducers


class Part(NamedTuple):
    """One part of an object.

    Attributes:
        step: how code gets from the object to the part: ".lock", "[0]", or a variable's name.
        value: the part.
        origin: for variables, which there are and whose: "a global variable used by f"; "" for all others.
    """

    step: str
    value: Any
    origin: str = ""


def parts(obj: Any) -> Generator[Part]:
    """The parts that pickling `obj` would pickle, as far as one can tell from outside.

    May raise what the object's own `__reduce__` or `__getstate__` raises.
    """
    match obj:
        case dict():
            yield from (Part(f" key {_short(key)}", key) for key in cast("dict[Any, Any]", obj))
            yield from (Part(f"[{_short(key)}]", value) for key, value in cast("dict[Any, Any]", obj).items())
        case list() | tuple() | set() | frozenset():
            yield from (Part(f"[{index}]", value) for index, value in enumerate(cast("list[Any]", obj)))
        case FunctionType():
            yield from _captured(obj)
        case MethodType():
            yield from (Part(".__self__", obj.__self__), Part(".__func__", obj.__func__))
        case functools.partial():
            bound = cast("functools.partial[Any]", obj)
            yield from (Part(".func", bound.func), Part(".args", bound.args), Part(".keywords", bound.keywords))
        case type():
            yield from (Part(f" base {base.__name__}", base) for base in obj.__bases__)
            yield from (Part(f".{name}", _unwrapped(value)) for name, value in vars(obj).items())
        case _:
            yield from _reduced(obj)


def _reduced(obj: Any) -> Iterator[Part]:
    reduced = _reduction(obj)
    if isinstance(reduced, str):  # the name of a global
        return
    function, args, state, items, pairs = (*cast("tuple[Any, ...]", reduced), None, None, None)[:5]
    yield from _state_parts(state)
    yield from (Part(f"[{index}]", value) for index, value in enumerate(items or ()))
    for key, value in pairs or ():
        yield Part(f"[{_short(key)}]", value)
    for index, value in enumerate(args or ()):
        yield Part(".__class__" if value is type(obj) else f".__reduce__()[1][{index}]", value)
    yield Part(".__reduce__()[0]", function)


def _state_parts(state: Any) -> Iterator[Part]:
    for some in state if isinstance(state, tuple) else (state,):
        if isinstance(some, dict):
            for name, value in cast("dict[Any, Any]", some).items():
                yield Part(f".{name}" if isinstance(name, str) else f"[{_short(name)}]", value)
        elif some is not None:
            yield Part(".__getstate__()", some)


def _reduction(obj: Any) -> Any:
    for reduce in (reducers.get(type(obj)), copyreg.dispatch_table.get(type(obj))):
        if reduce is not None and (reduced := reduce(obj)) is not NotImplemented:
            return reduced
    return reduce_exception(obj) if isinstance(obj, BaseException) else obj.__reduce_ex__(5)


def _captured(function: FunctionType) -> Iterator[Part]:
    owner = function.__qualname__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if not _is_empty(cell):
            yield Part(name, cell.cell_contents, f"a variable captured by {owner}")
    for name in sorted(_global_names(function.__code__)):
        if name in function.__globals__:
            yield Part(name, function.__globals__[name], f"a global variable used by {owner}")
    yield Part(".__defaults__", function.__defaults__)
    yield Part(".__kwdefaults__", function.__kwdefaults__)
    yield Part(".__dict__", function.__dict__)


def _global_names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _global_names(constant)
    return names


def _is_empty(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return True
    return False


def _unwrapped(member: Any) -> Any:
    """What a class keeps inside descriptors that cannot be pickled alone."""
    if isinstance(member, staticmethod | classmethod):
        return cast("Any", member).__func__
    if isinstance(member, property):
        return (member.fget, member.fset, member.fdel)
    return None if type(member).__name__ in {"getset_descriptor", "member_descriptor"} else member


def _short(key: Any) -> str:
    try:
        text = repr(key)
    except Exception:  # noqa: BLE001  # a user's __repr__ may raise anything
        text = f"<{type(key).__name__}>"
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004  # keeps a path on one line
