"""The fields of a runtime environment that name variables, files and functions: checked, and made plain."""

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from ..package import SCHEME
from .remote_package import check_remote
from .rule import want_mapping, want_type

_ARCHIVES = {".py", ".whl", ".zip"}
_DOTTED = re.compile(r"\w+(\.\w+)+")


def env_vars(given: Any) -> dict[str, str]:
    """Environment variables."""
    variables = want_mapping("env_vars", given, "a dict of str to str")
    for name, value in variables.items():
        # The value is not shown: it may be a secret.
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(
                f"runtime_env's env_vars must be a dict of str to str, but {name!r} is of type {type(name).__name__} "
                f"and its value of type {type(value).__name__}. Write numbers as strings."
            )
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"runtime_env's env_vars: {name!r} cannot be an environment variable.")
    return dict(variables)


def working_dir(given: Any) -> str:
    """A folder, a .zip file, or the URI of a package."""
    place = _place("working_dir", given)
    if "://" not in place and not (Path(place).is_dir() or place.endswith(".zip")):
        raise ValueError(f"runtime_env's working_dir must be a folder or a .zip file; {place} is neither.")
    return place


def py_modules(given: Any) -> list[str]:
    """Folders of packages, files, modules, or URIs of packages."""
    if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
        raise TypeError(f"runtime_env's py_modules must be a list of paths or modules, not {type(given).__name__}.")
    return [_module_place(each) for each in cast("Iterable[Any]", given)]


def py_executable(given: Any) -> str:
    """A command that runs Python, such as "/opt/python/bin/python" or "uv run --with polars"."""
    want_type("py_executable", given, str, "a str: a path, or a command with its arguments")
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise ValueError(f"runtime_env's py_executable {given!r} cannot be read as a command: {error}.") from error
    if not words:
        raise ValueError("runtime_env's py_executable is empty; give the path of an interpreter, or a command.")
    return given


def setup_hook(given: Any) -> Any:
    """A function without arguments, or "module.function"."""
    if isinstance(given, str):
        if _DOTTED.fullmatch(given) is None:
            raise ValueError(
                f"runtime_env's worker_process_setup_hook must be a function or its name, as 'module.function'; "
                f"{given!r} is no such name."
            )
        return given
    if not callable(given):
        raise TypeError(
            "runtime_env's worker_process_setup_hook must be a function or 'module.function', "
            f"not {type(given).__name__}."
        )
    return given


def _module_place(given: Any) -> str:
    if isinstance(given, ModuleType):
        places = [*getattr(given, "__path__", []), getattr(given, "__file__", None)]
        if places[0] is None:
            raise ValueError(f"runtime_env's py_modules: the module {given.__name__} has no file to ship.")
        given = places[0]
    place = _place("py_modules", given)
    if "://" not in place and Path(place).is_file() and Path(place).suffix not in _ARCHIVES:
        raise ValueError(f"runtime_env's py_modules takes folders, .py, .whl and .zip files, not {place}.")
    return place


def _place(field: str, given: Any) -> str:
    """A path made absolute, or the URI of a package."""
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"runtime_env's {field} must name a path, not {type(given).__name__}.")
    place = os.fspath(cast("str | os.PathLike[str]", given)).removeprefix("file://")
    if place.startswith(SCHEME):
        return place
    if "://" in place:
        return check_remote(field, place)
    path = Path(place).expanduser().absolute()
    if not path.exists():
        raise ValueError(f"runtime_env's {field}: there is no {path}.")
    return str(path)
