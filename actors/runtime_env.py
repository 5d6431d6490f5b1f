"""Runtime environments: what a task or actor wants of the process it runs in.

A RuntimeEnv starts with paths, as the user wrote them; `packaged` turns them into URIs of packages; `key` then names
what worker processes must have in common; and `apply` sets up the worker it is called in.
"""

import difflib
import hashlib
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Self, cast

from .package import SCHEME

FIELDS = ("env_vars", "working_dir", "py_modules", "excludes", "config")
LATER = (
    "pip",
    "uv",
    "conda",
    "container",
    "image_uri",
    "py_executable",
    "worker_process_setup_hook",
    "nsight",
    "_nsight",
    "rocprof_sys",
    "mpi",
    "java_jars",
)
_SHARED = ("env_vars", "working_dir", "py_modules")
"""The fields that make processes differ."""


class RuntimeEnvConfig(dict[str, Any]):
    """How a runtime environment is set up: Ray's `RuntimeEnvConfig`.

    Args:
        setup_timeout_seconds: seconds after which setting up fails; -1 for no limit.
        eager_install: set up when the job starts rather than with the first task.
        log_files: accepted as in Ray; files whose last lines are shown when setting up fails.
    """

    def __init__(
        self, setup_timeout_seconds: int = 600, eager_install: bool = True, log_files: list[str] | None = None
    ) -> None:
        _want_type("config['setup_timeout_seconds']", setup_timeout_seconds, int, "an int")
        _want_type("config['eager_install']", eager_install, bool, "a bool")
        if setup_timeout_seconds != -1 and setup_timeout_seconds <= 0:
            raise ValueError(
                "runtime_env's config['setup_timeout_seconds'] must be positive, or -1 for no limit, "
                f"not {setup_timeout_seconds}."
            )
        files = log_files or []
        _want_strings("config['log_files']", files)
        super().__init__(setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=files)


class RuntimeEnv(dict[str, Any]):
    """A validated runtime environment. A dict, as in Ray: fields that are not given are not in it.

    Args:
        env_vars: environment variables; "${NAME}" in a value stands for the worker's own.
        working_dir: a folder or .zip that becomes the working directory, and importable; or the URI of a package.
        py_modules: folders of Python packages, .py files, .whl files or modules to make importable; or URIs.
        excludes: patterns (as in .gitignore) of files in those folders that are left out.
        config: a RuntimeEnvConfig or a dict of its arguments.

    Raises:
        ValueError: an unknown field (the nearest known one is named), or a value that makes no sense.
        TypeError: a value of another type.
        NotImplementedError: a field of Ray's that Limelight does not have yet.
    """

    def __init__(
        self,
        *,
        env_vars: Mapping[str, str] | None = None,
        working_dir: str | os.PathLike[str] | None = None,
        py_modules: Iterable[str | os.PathLike[str] | ModuleType] | None = None,
        excludes: list[str] | None = None,
        config: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        _refuse_others(others)
        super().__init__()
        if env_vars is not None:
            self["env_vars"] = _checked_env_vars(env_vars)
        if working_dir is not None:
            self["working_dir"] = _checked_working_dir(working_dir)
        if py_modules is not None:
            self["py_modules"] = _checked_py_modules(py_modules)
        if excludes is not None:
            _want_strings("excludes", excludes)
            self["excludes"] = list(excludes)
        if config is not None:
            _refuse_unknown("config", config, ("setup_timeout_seconds", "eager_install", "log_files"))
            self["config"] = RuntimeEnvConfig(**config)

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Self:
        """The runtime environment a user gave as a dict, a RuntimeEnv or None."""
        if isinstance(given, cls):
            return given
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"runtime_env must be a dict or a RuntimeEnv, not {type(given).__name__}.")
        return cls(**(given or {}))

    def to_dict(self) -> dict[str, Any]:
        """A plain copy."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in self.items()}

    def serialize(self) -> str:
        """The environment as JSON."""
        return json.dumps(self, sort_keys=True)

    @classmethod
    def deserialize(cls, text: str) -> Self:
        """What `serialize` wrote, without checking paths again: it may be read on another machine."""
        env = cls()
        env.update(json.loads(text))
        return env

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).deserialize, (self.serialize(),)

    def env_vars(self) -> dict[str, str]:
        """The environment variables; {} when there are none."""
        return self.get("env_vars", {})

    def working_dir(self) -> str | None:
        """The working directory: a path or a URI."""
        return self.get("working_dir")

    def py_modules(self) -> list[str]:
        """Paths or URIs of modules; [] when there are none."""
        return self.get("py_modules", [])

    def has_working_dir(self) -> bool:
        """Whether there is a working directory."""
        return "working_dir" in self

    def uris(self) -> list[str]:
        """The packages it needs, without repetition."""
        wanted = [*([self["working_dir"]] if "working_dir" in self else []), *self.py_modules()]
        return list(dict.fromkeys(uri for uri in wanted if uri.startswith(SCHEME)))


def merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> RuntimeEnv:
    """What a task gets whose own environment is `child` and whose job's or parent task's is `parent`.

    As in Ray: environment variables of both, the child's winning; any other field of the child replaces the parent's.
    """
    merged = RuntimeEnv()
    merged.update(parent)
    merged.update(child)
    env_vars = {**parent.get("env_vars", {}), **child.get("env_vars", {})}
    if env_vars:
        merged["env_vars"] = env_vars
    return merged


def key(env: Mapping[str, Any]) -> str:
    """A name for what processes of this environment have in common: equal for equal environments, "" for an empty one.

    Raises:
        ValueError: it still has paths instead of packages, which say nothing about their content; see `packaged`.
    """
    shared = {name: env[name] for name in _SHARED if env.get(name)}
    for path in _paths(shared):
        raise ValueError(f"The runtime environment still names the path {path}; make it a package first.")
    if not shared:
        return ""
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:32]


def packaged(env: Mapping[str, Any], upload: Callable[[Path, list[str], bool], str]) -> RuntimeEnv:
    """The environment with a package for each path.

    Args:
        env: the environment.
        upload: makes a package of a path and stores it where the cluster finds it; takes the path, the excludes, and
            whether the folder itself belongs into the package (`package.build_package`); returns its URI.
    """
    excludes: list[str] = env.get("excludes", [])
    result = RuntimeEnv()
    result.update(env)

    def uri_of(place: str, keep_name: bool) -> str:
        return place if place.startswith(SCHEME) else upload(Path(place), excludes, keep_name)

    if "working_dir" in env:
        result["working_dir"] = uri_of(env["working_dir"], False)
    if "py_modules" in env:
        result["py_modules"] = [uri_of(place, True) for place in env["py_modules"]]
    return result


def apply(env: Mapping[str, Any], unpacked: Mapping[str, Path]) -> None:
    """Set this process up: environment variables, working directory, import path. Once, before user code runs.

    Args:
        env: a packaged environment.
        unpacked: where each of its packages lies.

    Raises:
        OSError: the working directory cannot be entered.
    """
    for name, value in env.get("env_vars", {}).items():
        os.environ[name] = _expanded(value)
    folders = [str(unpacked[uri]) for uri in env.get("py_modules", [])]
    if "working_dir" in env:
        folder = str(unpacked[env["working_dir"]])
        os.chdir(folder)
        folders.insert(0, folder)
    if folders:
        sys.path[:0] = folders
        inherited = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*folders, *([inherited] if inherited else [])])
        importlib.invalidate_caches()


def _expanded(value: str) -> str:
    """With "$NAME" and "${NAME}" replaced; a "${NAME}" that is not set is empty, as in Ray."""
    return re.sub(r"\$\{\w+\}", "", os.path.expandvars(value))


def _paths(env: Mapping[str, Any]) -> list[str]:
    places = [*([env["working_dir"]] if "working_dir" in env else []), *env.get("py_modules", [])]
    return [place for place in places if not place.startswith(SCHEME)]


def _refuse_others(others: Mapping[str, Any]) -> None:
    given = {name: value for name, value in others.items() if not (name in LATER and value is None)}
    for name in given:
        if name in LATER:
            raise NotImplementedError(
                f"runtime_env's {name!r} is not in this version of Limelight, which has {_listed(FIELDS)}. "
                "Until it is, prepare the machines (or their image) with what the tasks need."
            )
    _refuse_unknown("runtime_env", given, FIELDS)


def _refuse_unknown(what: str, given: Iterable[str], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, (*known, *LATER), 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {_listed(known)}."
            raise ValueError(f"{what} has no field {name!r}. {hint}")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _checked_env_vars(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise TypeError(f"runtime_env's env_vars must be a dict of str to str, not {type(given).__name__}.")
    variables = cast("Mapping[Any, Any]", given)
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


def _checked_working_dir(given: Any) -> str:
    place = _place("working_dir", given)
    if not place.startswith(SCHEME) and not (Path(place).is_dir() or place.endswith(".zip")):
        raise ValueError(f"runtime_env's working_dir must be a folder or a .zip file; {place} is neither.")
    return place


def _checked_py_modules(given: Any) -> list[str]:
    if isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
        raise TypeError(f"runtime_env's py_modules must be a list of paths or modules, not {type(given).__name__}.")
    return [_module_place(each) for each in cast("Iterable[Any]", given)]


def _module_place(given: Any) -> str:
    if isinstance(given, ModuleType):
        places = [*getattr(given, "__path__", []), getattr(given, "__file__", None)]
        if places[0] is None:
            raise ValueError(f"runtime_env's py_modules: the module {given.__name__} has no file to ship.")
        given = places[0]
    place = _place("py_modules", given)
    if not place.startswith(SCHEME) and Path(place).is_file() and Path(place).suffix not in {".py", ".whl", ".zip"}:
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
        raise NotImplementedError(
            f"runtime_env's {field} cannot come from {place.split('://')[0]}:// in this version; give a local path."
        )
    path = Path(place).expanduser().absolute()
    if not path.exists():
        raise ValueError(f"runtime_env's {field}: there is no {path}.")
    return str(path)


def _want_type(field: str, value: Any, kind: type, named: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"runtime_env's {field} must be {named}, not {type(value).__name__}.")


def _want_strings(field: str, value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in cast("list[Any]", value)):
        raise TypeError(f"runtime_env's {field} must be a list of str.")
