"""Checks that the fields of a runtime environment share."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, cast


def want_type(field: str, value: Any, kind: type, named: str) -> None:
    """Refuse a value of another type.

    Raises:
        TypeError: it is none of `kind`; a bool is no int.
    """
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"runtime_env's {field} must be {named}, not {type(value).__name__}.")


def want_strings(field: str, value: Any) -> list[str]:
    """The value, a list of strings.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(each, str) for each in cast("list[Any]", value)):
        raise TypeError(f"runtime_env's {field} must be a list of str.")
    return cast("list[str]", value)


def refuse_unknown(what: str, given: Iterable[str], known: Iterable[str], others: Iterable[str] = ()) -> None:
    """Refuse names that are not known, and name the nearest.

    Args:
        what: whose names they are.
        given: the names.
        known: all that there are.
        others: names that may be meant, too.

    Raises:
        ValueError: one is unknown.
    """
    known = tuple(known)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, (*known, *others), 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(known)}."
            raise ValueError(f"{what} has no field {name!r}. {hint}")


def want_mapping(field: str, value: Any, named: str) -> Mapping[Any, Any]:
    """The value, a mapping.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"runtime_env's {field} must be {named}, not {type(value).__name__}.")
    return cast("Mapping[Any, Any]", value)
