"""What a job's driver finds on its machine without saying so, given to the workers on the same machine as well.

The folder of the driver's script, and whatever else it has put on `sys.path`, so that a function of a module that lies
beside the script can be imported in a worker; and its working directory.
"""

import contextlib
import importlib
import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def current_folder() -> str:
    """The working directory; "" where it was removed."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def search_path() -> list[str]:
    """Where this process imports modules from, and the working directory.

    Left out is what its installation of Python has: workers have their own.
    """
    installed = [Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    here = Path(current_folder() or os.sep)
    places = [*(here / place for place in sys.path), here]
    own = [place for place in places if place.exists() and not any(map(place.resolve().is_relative_to, installed))]
    return list(dict.fromkeys(map(str, own)))


def adopt(folder: str, places: Iterable[str], env: Mapping[str, Any]) -> None:
    """Work where the driver works, and import what it can import; what does not exist on this machine is left out.

    Args:
        folder: the driver's working directory.
        places: the driver's `search_path`.
        env: what this process was set up as; its own working directory stays, and its packages come first.
    """
    missing = [place for place in places if place not in sys.path and Path(place).exists()]
    if missing:
        packages = len(env.get("py_modules", ())) + ("working_dir" in env)
        sys.path[packages:packages] = missing
        importlib.invalidate_caches()
    if folder and "working_dir" not in env and folder != current_folder():
        with contextlib.suppress(OSError):  # another machine, on which there is no such folder
            os.chdir(folder)
