"""The program that makes one environment, in a process of its own: it can be killed, and dies with its node process.

It reads a `BuildOrder` from stdin and tells on stdout what it does; the last line of a failed build says why. Its
argument is the descriptor of a pipe whose end of file says that the node process is gone. Its commands inherit the
lock for making, so that nobody starts anew while one of them still runs.
"""

import fcntl
import os
import re
import site
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import msgspec

from ..held_folder import open_lock
from ..process.fresh import die_with_lifeline
from .environment_store import EnvironmentStore
from .installer import Step, ToolMissingError, pip_of, python_of, steps, variables, written
from .recipe import BuildOrder

_PASSWORD = re.compile(r"://[^/@\s]+@")


class _BuildError(Exception):
    """A step has failed; its output is in the log already."""


def main() -> None:
    """Make an environment, unless somebody else did meanwhile."""
    threading.Thread(target=die_with_lifeline, args=(int(sys.argv[1]),), name="lifeline", daemon=True).start()
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=BuildOrder)
    store = EnvironmentStore(Path(order.root), order.quota)
    lock = open_lock(store.making_lock(order.digest), fcntl.LOCK_EX)
    if store.is_complete(order.digest):
        return
    store.clear(order.digest)
    began = time.monotonic()
    try:
        _build(order, store.folder(order.digest), lock)
    except (_BuildError, ToolMissingError, OSError) as error:
        store.clear(order.digest)
        _say(str(error))
        sys.exit(1)
    store.complete(order.digest)
    _say(f"made in {time.monotonic() - began:.1f} s")


def _build(order: BuildOrder, folder: Path, lock: int) -> None:
    recipe = order.recipe
    if recipe.kind == "conda":
        folder.parent.mkdir(parents=True, exist_ok=True)
        document = folder.with_name(f"{folder.name}.yml")
    else:
        _make_virtual_environment(folder)
        document = folder / "requirements.txt"
    document.write_text(written(recipe))
    found = variables(recipe, folder, os.environ)
    try:
        planned = steps(recipe, folder, document)
        for step in [*bootstrap(planned, folder), *planned]:
            _run(step, found, recipe.folder or str(folder.parent), lock)
    finally:
        if recipe.kind == "conda":
            document.unlink()
    check = Step("run a worker in it", [str(python_of(folder)), *order.check])
    _run(check, dict(os.environ), str(folder), lock)


def _make_virtual_environment(folder: Path) -> None:
    """A virtual environment that sees all that this interpreter sees, after what is its own."""
    _say(f"make a virtual environment for {sys.executable} in {folder}")
    venv.EnvBuilder(system_site_packages=True, symlinks=True).create(folder)
    if sys.prefix == sys.base_prefix:
        return
    # This interpreter is a virtual environment's itself, and the new one is a sister of that, not its child.
    own = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    lines = [f"import site; site.addsitedir({place!r})\n" for place in site.getsitepackages()]
    (own / "_limelight_parent.pth").write_text("".join(lines))


def bootstrap(planned: list[Step], folder: Path) -> list[Step]:
    """Have pip there, where it is needed and the interpreter has none."""
    python = str(python_of(folder))
    if not any(step.command[:4] == pip_of(folder) for step in planned):
        return []
    there = subprocess.run([python, "-c", "import pip"], capture_output=True, check=False).returncode == 0
    return [] if there else [Step("install pip", [python, "-m", "ensurepip"])]


def _run(step: Step, found: dict[str, str], folder: str, lock: int) -> None:
    _say(f"{step.title}: {_PASSWORD.sub('://...@', ' '.join(step.command))}")
    try:
        code = subprocess.run(
            step.command, env=found, cwd=folder, stdin=subprocess.DEVNULL, pass_fds=[lock], check=False
        ).returncode
    except OSError as error:
        raise _BuildError(f"{step.title} failed: {step.command[0]} could not be started: {error}") from error
    if code:
        how = f"exit code {code}" if code > 0 else f"signal {-code}"
        raise _BuildError(f"{step.title} failed with {how}")


def _say(text: str) -> None:
    sys.stdout.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
