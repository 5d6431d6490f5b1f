"""Code by value, as cloudpickle sends what is defined in `__main__`.

It runs in the minor version of Python that compiled it, and crashes any other. So it says which one that was, and
refuses to be made elsewhere.
"""

import sys
from types import CodeType
from typing import Any, cast

import cloudpickle

MINOR = sys.version_info[:2]

_reduce = cast("Any", cloudpickle.Pickler).dispatch_table[CodeType]


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """What pickle needs to make that code again."""
    _, parts = _reduce(code)
    return rebuild_code, (MINOR, code.co_qualname, parts)


def rebuild_code(minor: tuple[int, int], name: str, parts: tuple[Any, ...]) -> CodeType:
    """Code again.

    Args:
        minor: the version of Python that compiled it.
        name: whose code it is, for the error.
        parts: what `CodeType` takes there.

    Raises:
        TypeError: it was compiled by another minor version of Python.
    """
    if tuple(minor) != MINOR:
        theirs, ours = (".".join(map(str, version)) for version in (minor, MINOR))
        raise TypeError(
            f"{name} was sent as code of Python {theirs}, and this process has Python {ours}, which cannot run that. "
            "What both can import is sent by name: move it into a module that is installed on both sides, or that "
            "runtime_env={'working_dir': ...} or 'py_modules' ships; or use the same minor version of Python."
        )
    return CodeType(*parts)
