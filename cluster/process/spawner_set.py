"""All spawners of a node: one for its own interpreter, and one for each other that workers run in."""

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from ...exceptions import RuntimeEnvSetupError
from .fresh import FreshSpawner
from .interpreter import Interpreter
from .spawn import Spawner, SpawnerLostError, SpawnError, SpawnRequest, WorkerProcess
from .zygote import start_fresh_zygote
from .zygote_client import ZygoteClient

_TAIL_BYTES = 6000
_NO_PROGRAM = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR)


class SpawnerSet:
    """A `Spawner` that knows interpreters. Belongs to the event loop that first uses it; not thread-safe.

    The first worker of an interpreter waits for a zygote to start and import the runtime; the others are forked.

    Args:
        first: for workers of the node's own interpreter.
        main: "module:function", the workers' main function.
        logs: folder for what zygotes print.
        shelf: makes what foreign interpreters need, once it is needed; see `environment/shelf.py`.
    """

    def __init__(self, first: Spawner, main: str, logs: Path, shelf: Callable[[], Path]) -> None:
        self._first = first
        self._main = main
        self._logs = logs
        self._shelf = shelf
        self._others: dict[Interpreter, ZygoteClient | FreshSpawner] = {}
        self._of: dict[str, Spawner] = {}
        self._retiring: set[Spawner] = set()
        self._closing = False

    async def spawn(
        self, request: SpawnRequest, stdout: int, stderr: int, interpreter: Interpreter | None = None
    ) -> WorkerProcess:
        """See `Spawner.spawn`; in that interpreter.

        Raises:
            RuntimeEnvSetupError: the interpreter does not start, or cannot run a worker.
        """
        try:
            spawner = self._first if interpreter is None else self._other(interpreter)
        except BaseException:
            os.close(stdout)
            os.close(stderr)
            raise
        self._of[request.spawn_id] = spawner  # it may be signalled before this has heard that it runs
        started = False
        try:
            process = await spawner.spawn(request, stdout, stderr)
            started = True
        except SpawnerLostError as error:
            if interpreter is None or self._closing:
                raise
            raise RuntimeEnvSetupError(self._why_not(interpreter)) from error
        except SpawnError as error:
            if interpreter is None or error.errno not in _NO_PROGRAM:
                raise
            raise RuntimeEnvSetupError(_cannot_start(interpreter, error)) from error
        finally:
            if not started:
                del self._of[request.spawn_id]
        process.exited.add_done_callback(lambda _: self._of.pop(request.spawn_id, None))
        return process

    def signal(self, spawn_id: str, signum: int) -> None:
        """See `Spawner.signal`."""
        spawner = self._of.get(spawn_id)
        if spawner is not None:
            spawner.signal(spawn_id, signum)

    async def retire(self, interpreter: Interpreter) -> None:
        """End the spawner of an interpreter that no worker uses for now; the next one starts another."""
        spawner = self._others.pop(interpreter, None)
        if spawner is not None:
            self._retiring.add(spawner)
            await spawner.close()
            self._retiring.discard(spawner)

    async def close(self) -> None:
        """See `Spawner.close`."""
        self._closing = True
        spawners = [self._first, *self._others.values(), *self._retiring]
        await asyncio.gather(*(spawner.close() for spawner in spawners))

    def _other(self, interpreter: Interpreter) -> Spawner:
        if self._closing:
            raise SpawnerLostError("The spawner is closed; it starts no processes any more.")
        known = self._others.get(interpreter)
        if isinstance(known, FreshSpawner) or (known is not None and known.is_alive()):
            return known
        start, variables = interpreter.starting(self._shelf()), dict(interpreter.variables)
        if not interpreter.forks:
            made: ZygoteClient | FreshSpawner = FreshSpawner(self._main, start, variables)
        else:
            log = os.open(self._log_of(interpreter), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                made = start_fresh_zygote(self._main, start, variables, log)
            except OSError as error:
                raise RuntimeEnvSetupError(_cannot_start(interpreter, error)) from error
            finally:
                os.close(log)
        self._others[interpreter] = made
        return made

    def _log_of(self, interpreter: Interpreter) -> Path:
        name = hashlib.sha256(repr(interpreter).encode()).hexdigest()[:12]
        return self._logs / f"interpreter-{name}.log"

    def _why_not(self, interpreter: Interpreter) -> str:
        log = self._log_of(interpreter)
        told = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        command = " ".join(interpreter.command)
        return (
            f"No worker can run in the interpreter of the runtime environment ({command}): it ended before it had "
            f"started one. What it said last:\n{told}"
            if told
            else f"The interpreter of the runtime environment ({command}) ended without a word."
        )


def _cannot_start(interpreter: Interpreter, error: OSError) -> str:
    return (
        f"The interpreter of the runtime environment, {interpreter.command[0]}, cannot be started on this node: "
        f"{error.strerror or error}."
    )
