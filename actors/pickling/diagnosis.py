"""Why a value cannot be pickled: which attribute, item or captured variable it is."""

import pickle
import sys
import time
from collections.abc import AsyncGenerator, Coroutine, Generator
from typing import Any, NamedTuple, TextIO

from ...exceptions import RayError
from ...exceptions.trace import describe_exception
from .anatomy import parts
from .contained import recording
from .pickler import dump

_MAX_SECONDS = 3.0
"""Finding the culprit pickles parts again and again; a large value gets the path found so far after this long."""
_MAX_DEPTH = 20
_MAX_CULPRITS = 20


class Culprit(NamedTuple):
    """Something that cannot be pickled, found inside a value.

    Attributes:
        path: an expression that leads to it: "self.config.lock".
        name: the last step of the path.
        obj: the thing.
        parent: what it is a part of; None for the value itself.
        reason: what pickling it raised, as one line.
        origin: where the variable that starts the path comes from: "self is a variable captured by f", or "".
    """

    path: str
    name: str
    obj: Any
    parent: Any
    reason: str
    origin: str


class FailureTuple:
    """What `inspect_serializability` found: `obj`, a part of `parent` called `name`, cannot be pickled."""

    def __init__(self, culprit: Culprit) -> None:
        self.obj = culprit.obj
        self.name = culprit.name
        self.parent = culprit.parent
        self._path = culprit.path

    def __repr__(self) -> str:
        return f"FailTuple({self.name} [path={self._path}, type={type(self.obj).__qualname__}])"


def explain(value: Any, exc: Exception, name: str, roots: dict[str, Any] | None = None) -> Exception:
    """The error to raise when pickling `value` raised `exc`.

    A TypeError that names the culprit when the value cannot be pickled; `exc` itself, with a note, when the value's
    own code failed in another way.

    Args:
        value: what was pickled.
        exc: what that raised.
        name: what the value is: "the argument x of task f".
        roots: expressions for the parts of the value that a path may start from; the value itself if None.
    """
    if isinstance(exc, RecursionError) or _is_too_deep(exc):
        return TypeError(
            f"Could not serialize {name}: it is a {_type_name(value)} nested deeper than Python's recursion limit "
            f"({sys.getrecursionlimit()}). Flatten it (a linked list as a list), or raise the limit with "
            "sys.setrecursionlimit()."
        )
    if isinstance(exc, RayError) or not isinstance(
        exc, TypeError | pickle.PicklingError | AttributeError | ValueError | NotImplementedError
    ):
        exc.add_note(f"Raised while serializing {name}.")
        return exc
    starts = roots if roots is not None else {"value": value}
    found = next((culprit for start, part in starts.items() for culprit in culprits(part, start, _MAX_DEPTH)), None)
    if found is None:
        return TypeError(f"Could not serialize {name}, a {_type_name(value)}: {describe_exception(exc)}.")
    origin = f" ({found.origin})" if found.origin else ""
    return TypeError(
        f"Could not serialize {name}: {found.path}{origin} cannot be pickled.\n"
        f"    {found.path}: {_type_name(found.obj)}\n"
        f"    {found.reason}\n"
        f"{_advice(found.obj)}"
    )


def inspect_serializability(
    obj: Any, name: str | None = None, depth: int = 3, print_file: TextIO | None = None
) -> tuple[bool, set[FailureTuple]]:
    """Say whether an object can be pickled, and what in it cannot.

    Args:
        obj: the object.
        name: what to call it in the report; found from the object if None.
        depth: how many levels of parts to look into.
        print_file: where the report goes; standard output if None.

    Returns:
        Whether it can be pickled, and the innermost parts found that cannot.
    """
    out = print_file if print_file is not None else sys.stdout
    label = name if name is not None else getattr(obj, "__name__", "value")
    found = list(culprits(obj, label, depth))
    if not found:
        out.write(f"{label} can be serialized.\n")
        return True, set()
    out.write(f"{label} cannot be serialized, because of:\n")
    for culprit in found:
        origin = f" ({culprit.origin})" if culprit.origin else ""
        out.write(f"    {culprit.path}: {_type_name(culprit.obj)}{origin}\n        {culprit.reason}\n")
    return False, {FailureTuple(culprit) for culprit in found}


def culprits(value: Any, path: str, depth: int) -> Generator[Culprit]:
    """The innermost parts of `value`, at most `depth` levels down, that cannot be pickled even alone.

    Nothing when the value can be pickled. Finds at most 20, and stops looking deeper after 3 seconds.
    """
    search = _Search(time.monotonic() + _MAX_SECONDS)
    with recording():  # refs pickled in here are held by nobody
        reason = search.failure(value)
        if reason is not None:
            found = search.descend(Culprit(path, path, value, None, reason, ""), depth)
            for index, culprit in enumerate(found):
                if index == _MAX_CULPRITS:
                    return
                yield culprit


class _Search:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.seen: set[int] = set()

    def descend(self, at: Culprit, depth: int) -> Generator[Culprit]:
        """The culprits among the parts of `at`, which is known to fail; itself where no part fails alone."""
        self.seen.add(id(at.obj))
        deeper = False
        if depth > 0:
            for part in self._failing(at):
                deeper = True
                yield from self.descend(part, depth - 1)
        if not deeper:
            yield at

    def _failing(self, at: Culprit) -> Generator[Culprit]:
        try:
            for step, value, origin in parts(at.obj):
                if id(value) in self.seen:
                    continue
                reason = self.failure(value)
                if reason is not None:
                    path = step if origin else f"{at.path}{step}"
                    told = f"{step} is {origin}" if origin else at.origin
                    yield Culprit(path, step.strip(".[]'\" "), value, at.obj, reason, told)
                if time.monotonic() > self.deadline:
                    return
        except Exception:  # noqa: BLE001  # the object's own code failed: then the object is the culprit
            return

    def failure(self, value: Any) -> str | None:
        """What pickling the value raises, as one line; None when it can be pickled."""
        try:
            dump(value, [])
        except Exception as exc:  # noqa: BLE001  # user code runs in there
            return describe_exception(exc)
        return None


def _advice(obj: Any) -> str:
    if isinstance(obj, Generator | AsyncGenerator | Coroutine):
        return (
            "It lives where it was made: pass what it gives (list(...)), make it inside the task or actor, or have a "
            'task give its results one by one (num_returns="streaming").'
        )
    return (
        "Create it where it is used, inside the task or actor; or leave it out of the pickle with __getstate__; or "
        "say how it is pickled with limelight.util.register_serializer()."
    )


def _is_too_deep(exc: Exception) -> bool:
    return isinstance(exc, pickle.PicklingError) and "recursion" in str(exc)


def _type_name(value: Any) -> str:
    cls: Any = type(value)
    return cls.__qualname__ if cls.__module__ in {"builtins", "__main__"} else f"{cls.__module__}.{cls.__qualname__}"
