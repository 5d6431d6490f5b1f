"""Has the interpreters of runtime environments at hand: finds them, or has them made, once, whoever asks."""

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from ...actors.runtime_env import expanded
from ...exceptions import RuntimeEnvSetupError
from ..process.interpreter import ENTRY, Interpreter, interpreting, path_with, running, tag, within
from ..process.title import PADDING
from ..process.watch import ProcessWatch
from .environment_store import EnvironmentStore
from .installer import ToolMissingError, conda_tool, python_of
from .recipe import BuildOrder, Recipe

WORKER = f"{__name__.partition('.')[0]}.cluster.worker_main"
"""Run as a program, it imports what a worker needs, and ends."""

_BUILDER = f"{__name__.rpartition('.')[0]}.builder"
_EARLY = ("LD_", "DYLD_", "PYTHON", "MALLOC_", "GLIBC_")
"""Variables that are read while a process starts: they come too late for a forked one."""

_TAIL_BYTES = 6000
_ACTIVATE = 'for f in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do [ -r "$f" ] && . "$f"; done; exec "$@"'


class Found(NamedTuple):
    """What an environment's workers run in.

    Attributes:
        interpreter: None for the node's own.
        digest: the environment that is held for it; "" where none is.
    """

    interpreter: Interpreter | None = None
    digest: str = ""


class Workshop:
    """Part of the node manager; on its loop.

    Args:
        session: the session's name.
        logs: folder for the logs of builds.
        shelf: makes what foreign interpreters need, once it is needed.
        root, quota: of the store of environments, which is opened when the first one is wanted.
    """

    def __init__(self, session: str, logs: Path, shelf: Callable[[], Path], root: Path, quota: int) -> None:
        self._session = session
        self._logs = logs
        self._shelf = shelf
        self._root, self._quota = root, quota
        self._opened: EnvironmentStore | None = None
        self._builds: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, int] = {}
        self._failed: dict[str, tuple[float, RuntimeEnvSetupError]] = {}  # the last time, by digest
        self._digests: dict[bytes, str] = {}
        self._commands: dict[Interpreter, Interpreter] = {}
        self._at_once = asyncio.Semaphore(max(2, os.cpu_count() or 1))

    @property
    def _store(self) -> EnvironmentStore:
        if self._opened is None:
            self._opened = EnvironmentStore(self._root, self._quota)
        return self._opened

    async def find(self, env: Mapping[str, Any], folder: str) -> Found:
        """What a packaged environment's workers run in. `let_go` of it when no worker needs it any more.

        Args:
            env: the environment.
            folder: where its working directory is unpacked; "" where it has none.

        Raises:
            RuntimeEnvSetupError: it cannot be had, with what the installer said.
        """
        early = _early(env)
        recipe = Recipe.of(env, folder)
        if recipe is not None:
            digest = self._digest(recipe)
            await self._have(recipe, digest)
            return Found(_interpreter_in(self._store.folder(digest), recipe.kind, early), digest)
        if "conda" in env:
            return Found(_interpreter_in(await _named_conda(env["conda"]), "conda", early))
        if "py_executable" in env:
            return Found(await self._described(env, folder))
        return Found(Interpreter(interpreting(sys.executable), tuple(early.items())) if early else None)

    def let_go(self, found: Found) -> None:
        """Nobody needs it for now; it may be removed when its room is needed."""
        if found.digest:
            self._store.let_go(found.digest)

    async def close(self) -> None:
        """End all builds and let go of everything."""
        for build in self._builds.values():
            build.cancel()
        await asyncio.gather(*self._builds.values(), return_exceptions=True)
        if self._opened is not None:
            self._opened.close()

    def _digest(self, recipe: Recipe) -> str:
        """The same for as long as this node runs, even past midnight."""
        encoded = msgspec.json.encode(recipe, order="sorted")
        return self._digests.setdefault(encoded, recipe.digest(self._session))

    # --- making ---

    async def _have(self, recipe: Recipe, digest: str) -> None:
        """Hold an environment, made if need be."""
        store, asked_at = self._store, asyncio.get_running_loop().time()
        holding = asyncio.ensure_future(asyncio.to_thread(store.hold, digest))
        try:
            await asyncio.shield(holding)
        except asyncio.CancelledError:
            holding.add_done_callback(lambda _: store.let_go(digest))
            raise
        try:
            if not store.is_complete(digest):
                await self._made(recipe, digest, asked_at)
            store.used(digest)
        except BaseException:
            store.let_go(digest)
            raise

    async def _made(self, recipe: Recipe, digest: str, asked_at: float) -> None:
        """Wait for the build, started if need be, and ended when nobody waits for it any more."""
        failed = self._failed.get(digest)
        if failed is not None and failed[0] >= asked_at:  # who asked wanted the build that has just failed
            raise RuntimeEnvSetupError(failed[1].error_message)
        build = self._builds.get(digest)
        if build is None:
            build = self._builds[digest] = asyncio.create_task(self._build(recipe, digest))
            build.add_done_callback(lambda ended: self._forget(digest, ended))
        self._waiting[digest] = self._waiting.get(digest, 0) + 1
        try:
            await asyncio.shield(build)
        finally:
            self._waiting[digest] -= 1
            if not self._waiting[digest]:
                del self._waiting[digest]
                self._forget(digest, build)  # at once: whoever comes now must not wait for what is being ended
                build.cancel()

    def _forget(self, digest: str, build: "asyncio.Task[None]") -> None:
        if self._builds.get(digest) is build:
            del self._builds[digest]

    async def _build(self, recipe: Recipe, digest: str) -> None:
        log = self._log_of(digest)
        shelf = await asyncio.to_thread(self._shelf)
        order = BuildOrder(recipe, str(self._root), self._quota, digest, [*running(shelf), WORKER])
        async with self._at_once:
            code = await _run_builder(msgspec.msgpack.encode(order), shelf, log)
        if code:
            error = RuntimeEnvSetupError(f"{recipe.kind} could not make the runtime environment.{_end_of_log(log)}")
            self._failed[digest] = asyncio.get_running_loop().time(), error
            raise error
        self._failed.pop(digest, None)

    def said(self, env: Mapping[str, Any], folder: str) -> str:
        """The end of what the installer has said of an environment so far, for an error message; "" for nothing."""
        recipe = Recipe.of(env, folder)
        return "" if recipe is None else _end_of_log(self._log_of(self._digest(recipe)))

    def _log_of(self, digest: str) -> Path:
        return self._logs / f"runtime-env-{digest[:12]}.log"

    # --- commands ---

    async def _described(self, env: Mapping[str, Any], folder: str) -> Interpreter:
        """A user's command, asked what it is."""
        words = [expanded(word) for word in shlex.split(env["py_executable"])]
        if folder and (Path(folder) / words[0]).is_file():
            words[0] = str(Path(folder) / words[0])
        variables = {name: expanded(value) for name, value in env.get("env_vars", {}).items()}
        words[0] = shutil.which(words[0], path=variables.get("PATH")) or words[0]
        asked = Interpreter(within(folder, tuple(words)), tuple(variables.items()))
        if asked not in self._commands:
            self._commands[asked] = asked._replace(forks=await _is_interpreter(asked, env["py_executable"]))
        return self._commands[asked]


def _early(env: Mapping[str, Any]) -> dict[str, str]:
    return {name: expanded(value) for name, value in env.get("env_vars", {}).items() if name.startswith(_EARLY)}


def preset(env: Mapping[str, Any], found: Found) -> list[str]:
    """The variables of an environment that its workers find set."""
    known = dict(found.interpreter.variables) if found.interpreter is not None else {}
    return [name for name in env.get("env_vars", {}) if name in known]


def _interpreter_in(folder: Path, kind: str, early: Mapping[str, str]) -> Interpreter:
    python = python_of(folder)
    variables = {"PATH": path_with(python.parent)}
    if kind != "conda":
        return Interpreter(interpreting(python), tuple({**variables, "VIRTUAL_ENV": str(folder), **early}.items()))
    variables |= {"CONDA_PREFIX": str(folder), "CONDA_DEFAULT_ENV": folder.name, **early}
    command = interpreting(python)
    if (folder / "etc" / "conda" / "activate.d").is_dir():
        command = ("/bin/sh", "-c", _ACTIVATE, "activate", *command)
    return Interpreter(command, tuple(variables.items()))


async def _named_conda(name: str) -> Path:
    """The folder of a conda environment that was made before."""
    if Path(name).is_absolute():
        folder = Path(name)
        if not python_of(folder).exists():
            raise RuntimeEnvSetupError(f"There is no conda environment with Python in {folder} on this node.")
        return folder
    try:
        tool = conda_tool()
    except ToolMissingError as error:
        raise RuntimeEnvSetupError(str(error)) from error
    code, told = await _output_of([tool, "env", "list", "--json"], {})
    try:
        listed = told[told.index("{") : told.rindex("}") + 1]  # there may be warnings around it
        folders = [Path(each) for each in json.loads(listed)["envs"]] if not code else []
    except (ValueError, KeyError, TypeError):
        folders, code = [], 1
    if code:
        raise RuntimeEnvSetupError(f"{tool} env list failed on this node:\n{told[-_TAIL_BYTES:]}")
    for folder in folders:
        if folder.name == name and python_of(folder).exists():
            return folder
    known = ", ".join(sorted(folder.name for folder in folders)) or "none"
    raise RuntimeEnvSetupError(f"This node has no conda environment {name!r}; it has {known}.")


async def _is_interpreter(asked: Interpreter, shown: str) -> bool:
    """Whether a command becomes the interpreter, rather than start one.

    Raises:
        RuntimeEnvSetupError: it runs no Python, or one of another version.
    """
    output: list[int] = []
    code, told = await _output_of([*asked.command, str(ENTRY), "describe"], dict(asked.variables), output.append)
    lines = [line for line in told.splitlines() if line.startswith('{"')]
    try:
        described = json.loads(lines[-1]) if lines and not code else None
    except ValueError:
        described = None
    if described is None:
        raise RuntimeEnvSetupError(
            f"py_executable {shown!r} does not run {tag()} on this node (exit code {code}). It said:\n"
            f"{told[-_TAIL_BYTES:].strip()}"
        )
    if described["tag"] != tag():
        raise RuntimeEnvSetupError(
            f"py_executable {shown!r} runs {described['tag']} ({described['executable']}), and this node "
            f"runs {tag()}. What workers exchange needs the same version of Python everywhere: name an interpreter of "
            "that version, or start the cluster with this one."
        )
    return described["pid"] == output[0]


async def _output_of(
    command: list[str], variables: Mapping[str, str], started: Callable[[int], None] | None = None
) -> tuple[int, str]:
    """Exit code and output of a command, which is killed with all it has started if nobody waits any more."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **variables},
                start_new_session=True,
            )
        except OSError as error:
            return 127, f"{command[0]} cannot be started: {error.strerror or error}"
        if started is not None:
            started(process.pid)
        code = await _end_of(process)
        output.seek(0)
        return code, output.read().decode(errors="replace")


async def _run_builder(order: bytes, shelf: Path, log: Path) -> int:
    reader, lifeline = os.pipe()
    try:
        with tempfile.TemporaryFile() as stdin, _private(log) as output:
            stdin.write(order)
            stdin.seek(0)
            process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [sys.executable, *running(shelf), _BUILDER, str(reader), PADDING],
                stdin=stdin,
                stdout=output,
                stderr=output,
                pass_fds=[reader],
                start_new_session=True,
            )
        return await _end_of(process)
    finally:
        os.close(reader)
        os.close(lifeline)


async def _end_of(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a process's end; then, or when the waiting is cancelled, its group is killed.

    What a process leaves that was killed itself would go on for as long as it likes, and keep the next one waiting.
    """
    ended = asyncio.Event()
    watch = ProcessWatch(process.pid, ended.set)
    try:
        await ended.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):  # until it is reaped, its id and its group's are nobody else's
            os.killpg(process.pid, signal.SIGKILL)
        watch.close()
        process.wait()
    return process.returncode


def _end_of_log(log: Path) -> str:
    try:
        told = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
    return f" The end of the installer's output, all of which is in {log} on the node:\n{told}"


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
