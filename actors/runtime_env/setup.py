"""What a worker does to become what its runtime environment says."""

import base64
import importlib
import os
import pickle
import re
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from .environment import HOOK, PICKLED_HOOK


def apply(env: Mapping[str, Any], unpacked: Mapping[str, Path], preset: Collection[str] = ()) -> None:
    """Set this process up: environment variables, working directory, import path. Once, before user code runs.

    Args:
        env: a packaged environment.
        unpacked: where each of its packages lies.
        preset: environment variables that this process was started with.

    Raises:
        OSError: the working directory cannot be entered.
    """
    for name, value in env.get("env_vars", {}).items():
        if name not in preset:
            os.environ[name] = expanded(value)
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


def run_hook(env: Mapping[str, Any]) -> None:
    """Call the environment's `worker_process_setup_hook`, if it has one.

    Raises:
        BaseException: whatever the function raises, or whatever keeps it from being found.
    """
    if HOOK in env:
        _hook(env)()


def expanded(value: str) -> str:
    """With "$NAME" and "${NAME}" replaced; a "${NAME}" that is not set is empty, as in Ray."""
    return re.sub(r"\$\{\w+\}", "", os.path.expandvars(value))


def _hook(env: Mapping[str, Any]) -> Callable[[], Any]:
    if PICKLED_HOOK in env:
        return pickle.loads(base64.b64decode(env[PICKLED_HOOK]))
    module, _, name = env[HOOK].rpartition(".")
    return getattr(importlib.import_module(module), name)
