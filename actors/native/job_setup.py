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
from typing import Any


def current_folder() -> str:
    """The working directory; "" where it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def search_path() -> list[str]:
    """Where this process imports modules from, and the working directory.

    Left out is what its installation of Python has: workers have their own.
    """
    installed = tuple(f"{os.path.realpath(place)}{os.sep}" for place in {*sysconfig.get_paths().values(), sys.prefix})
    places = [os.path.abspath(place) if place else current_folder() for place in sys.path]
    own = (place for place in places if place and os.path.exists(place))
    return list(dict.fromkeys(p for p in [*own, current_folder()] if p and not f"{os.path.realpath(p)}{os.sep}".startswith(installed)))


def adopt(folder: str, places: Iterable[str], env: Mapping[str, Any]) -> None:
    """Work where the driver works, and import what it can import; what does not exist on this machine is left out.

    Args:
        folder: the driver's working directory.
        places: the driver's `search_path`.
        env: what this process was set up as; its own working directory stays, and its packages come first.
    """
    missing = [place for place in places if place not in sys.path and os.path.exists(place)]
    if missing:
        packages = len(env.get("py_modules", ())) + ("working_dir" in env)
        sys.path[packages:packages] = missing
        importlib.invalidate_caches()
    if folder and "working_dir" not in env and folder != current_folder():
        with contextlib.suppress(OSError):  # another machine, on which there is no such folder
            os.chdir(folder)
