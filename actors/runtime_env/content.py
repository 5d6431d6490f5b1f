"""A runtime environment without paths and functions, which mean something only where they were written."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .environment import FIELDS, HOOK, PICKLED_HOOK, RuntimeEnv

FIELDS_THAT_DIFFER = tuple(name for name in (*FIELDS, PICKLED_HOOK) if name not in {"excludes", "config"})
"""The fields that make processes differ."""


def portable(env: Mapping[str, Any]) -> dict[str, Any]:
    """The environment as plain data: a function among it is pickled, and named.

    Raises:
        TypeError, pickle.PicklingError: the function cannot be pickled.
    """
    hook = env.get(HOOK)
    if hook is None or isinstance(hook, str):
        return dict(env)
    import cloudpickle

    name = getattr(hook, "__qualname__", type(hook).__qualname__)
    return {**env, HOOK: name, PICKLED_HOOK: base64.b64encode(cloudpickle.dumps(hook)).decode()}


def key(env: Mapping[str, Any]) -> str:
    """A name for what processes of this environment have in common: equal for equal environments, "" for an empty one.

    Raises:
        ValueError: it still has paths instead of packages, which say nothing about their content; see `packaged`.
    """
    shared = {name: env[name] for name in FIELDS_THAT_DIFFER if env.get(name)}
    for path in _paths(shared):
        raise ValueError(f"The runtime environment still names the path {path}; make it a package first.")
    if not shared:
        return ""
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:32]


def packaged(env: Mapping[str, Any], upload: Callable[[Path, list[str], bool], str]) -> RuntimeEnv:
    """The environment with a package for each path, and its function pickled.

    Args:
        env: the environment.
        upload: makes a package of a path and stores it where the cluster finds it; takes the path, the excludes, and
            whether the folder itself belongs into the package (`package.build_package`); returns its URI.
    """
    excludes: list[str] = env.get("excludes", [])
    fields = portable(env)

    def uri_of(place: str, keep_name: bool) -> str:
        return place if "://" in place else upload(Path(place), excludes, keep_name)

    if "working_dir" in env:
        fields["working_dir"] = uri_of(env["working_dir"], False)
    if "py_modules" in env:
        fields["py_modules"] = [uri_of(place, True) for place in env["py_modules"]]
    return RuntimeEnv(**fields, _validate=False)


def received(given: Mapping[str, Any] | None) -> RuntimeEnv:
    """The environment that another program has packaged, checked anew. A pickled function stays pickled, and unread.

    Raises:
        ValueError, TypeError, NotImplementedError: it makes no sense; see `RuntimeEnv`.
    """
    if given is None or PICKLED_HOOK not in given:
        return RuntimeEnv.of(given)
    hook = {name: given.get(name) for name in (HOOK, PICKLED_HOOK)}
    if not all(isinstance(each, str) for each in hook.values()):
        raise TypeError(f"runtime_env's {HOOK} is no function that was pickled.")
    checked = RuntimeEnv.of({name: value for name, value in given.items() if name not in hook})
    return RuntimeEnv(**checked, **hook, _validate=False)


def _paths(env: Mapping[str, Any]) -> list[str]:
    places = [*([env["working_dir"]] if "working_dir" in env else []), *env.get("py_modules", [])]
    return [place for place in places if "://" not in place]
