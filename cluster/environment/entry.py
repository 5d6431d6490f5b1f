"""What a foreign interpreter runs first. It may be of another version, so this file keeps to what any Python 3.7 reads.

    python entry.py describe
    python entry.py run <tag> <shelf> <module> [argument ...]

The first prints what the interpreter is, in JSON; the second runs a module of the package as `python -m` would.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

_USAGE = 64  # EX_USAGE of sysexits.h


def tag() -> str:
    """What must be equal where pickled code and compiled modules are shared."""
    return f"{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"


def describe() -> None:
    """Print what this interpreter is."""
    sys.stdout.write(json.dumps({"tag": tag(), "pid": os.getpid(), "executable": sys.executable}) + "\n")


def run(wanted: str, shelf: str, module: str, *arguments: str) -> None:
    """Run a module of the package, found on the shelf."""
    if tag() != wanted:
        sys.exit(
            f"The interpreter {sys.executable} is {tag()}, and this node runs {wanted}. What workers exchange needs "
            "the same version of Python everywhere: use an interpreter of that version, or start the cluster with "
            "this one."
        )
    here = Path(__file__).parent.resolve()
    # The folder of this file is no place to import from, nor is a stranger's package of the same name.
    sys.path[:] = [place for place in sys.path if Path(place or os.curdir).resolve() != here]
    sys.path.append(str(Path(shelf) / "dependencies"))
    own = Path(shelf) / "own"
    sys.path.insert(0, str(own))
    for package in own.iterdir():
        __import__(package.name)  # its own modules are found by its path from now on
    del sys.path[0]
    import runpy

    sys.argv[:] = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["describe"]:
        describe()
    elif sys.argv[1:2] == ["run"]:
        run(*sys.argv[2:])
    else:
        sys.exit(_USAGE)
