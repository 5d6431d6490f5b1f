"""Workers from a fresh interpreter each, where forking is unsafe: macOS, or a process that has threads or a GPU.

The request reaches the worker through an unnamed file, not through its arguments, which every user of the machine can
read. A pipe that the node process never writes to is the worker's lifeline: its end of file says, on any system, that
the node process is gone.
"""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import NoReturn

import msgspec

from .child import close_descriptors_but, die_with_parent, restore_signals, run_child
from .control import close_all
from .spawn import ProcessExit, SpawnerLostError, SpawnError, SpawnRequest, WorkerProcess, peak_rss, process_exit
from .title import PADDING
from .watch import ProcessWatch
from .zygote import load_main

MODULE = __spec__.name
"""This module, also where it is the main one."""


class FreshSpawner:
    """A `Spawner` that starts an interpreter for each worker. Belongs to the event loop that first uses it.

    Args:
        main: "module:function", the workers' main function, importable in a fresh interpreter.
        start: the command that runs a module of this package; its name and arguments are appended.
        environment: variables of the workers, on top of this process's.
    """

    def __init__(
        self, main: str, start: Sequence[str] = (sys.executable, "-m"), environment: Mapping[str, str] | None = None
    ) -> None:
        self._main = main
        self._start_command = start
        self._environment = dict(environment or {})
        self._live: dict[str, WorkerProcess] = {}
        self._lifelines: dict[str, int] = {}
        self._own_peaks: dict[str, int] = {}
        self._closing = False

    async def spawn(self, request: SpawnRequest, stdout: int, stderr: int) -> WorkerProcess:
        """See `Spawner.spawn`."""
        try:
            if self._closing:
                raise SpawnerLostError("The spawner is closed; it starts no processes any more.")
            if request.spawn_id in self._live:
                raise ValueError(f"A live process already has the spawn id {request.spawn_id!r}.")
            pid = self._start(request, stdout, stderr)
            # Linux counts the peak of the process that executed a program as that program's (exec_mmap in fs/exec.c),
            # and a spawned process shares its parent's memory until then.
            self._own_peaks[request.spawn_id] = peak_rss(resource.getrusage(resource.RUSAGE_SELF))
        finally:
            close_all((stdout, stderr))
        process = WorkerProcess(request.spawn_id, pid, asyncio.get_running_loop().create_future())
        self._live[request.spawn_id] = process
        ProcessWatch(pid, lambda: self._on_death(process))
        return process

    def signal(self, spawn_id: str, signum: int) -> None:
        """See `Spawner.signal`."""
        process = self._live.get(spawn_id)
        if process is not None:  # not reaped yet, so the pid is still the worker's
            with contextlib.suppress(PermissionError):
                os.kill(process.pid, signum)

    async def close(self) -> None:
        """See `Spawner.close`."""
        self._closing = True
        for process in self._live.values():
            os.kill(process.pid, signal.SIGKILL)
        if self._live:
            await asyncio.wait([asyncio.shield(process.exited) for process in self._live.values()])

    def _start(self, request: SpawnRequest, stdout: int, stderr: int) -> int:
        with contextlib.ExitStack() as stack:
            try:
                reader, lifeline = os.pipe()
                stack.callback(os.close, reader)
                keep = stack.enter_context(contextlib.ExitStack())
                keep.callback(os.close, lifeline)
                file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
                file.write(msgspec.msgpack.encode(request))
                file.seek(0)
                os.set_inheritable(reader, True)
                os.set_inheritable(file.fileno(), True)
                pid = os.posix_spawnp(
                    self._start_command[0],
                    [*self._start_command, MODULE, str(file.fileno()), str(reader), self._main, PADDING],
                    os.environ | self._environment | request.env,
                    file_actions=[
                        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                        (os.POSIX_SPAWN_DUP2, stdout, 1),
                        (os.POSIX_SPAWN_DUP2, stderr, 2),
                    ],
                    setpgroup=0,
                )
            except OSError as error:
                raise SpawnError(error.errno, f"Could not start {self._start_command[0]}: {error.strerror}") from error
            keep.pop_all()
        self._lifelines[request.spawn_id] = lifeline
        return pid

    def _on_death(self, process: WorkerProcess) -> None:
        del self._live[process.spawn_id]
        inherited = self._own_peaks.pop(process.spawn_id)
        os.close(self._lifelines.pop(process.spawn_id))
        # While the worker is a zombie its pid, and so its group's, belongs to nobody else.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            exit_ = process_exit(process.spawn_id, process.pid, status, usage, inherited)
        except ChildProcessError:  # someone else in this process reaped it
            exit_ = ProcessExit(process.spawn_id, process.pid, None, None)
        if not process.exited.done():
            process.exited.set_result(exit_)


def _run(request_file: int, lifeline: int, main: str) -> NoReturn:
    """Be a worker in this fresh interpreter."""
    die_with_parent(os.getppid())
    close_descriptors_but(request_file, lifeline)
    restore_signals()
    with open(request_file, "rb") as file:
        request = msgspec.msgpack.decode(file.read(), type=SpawnRequest)
    threading.Thread(target=die_with_lifeline, args=(lifeline,), name="lifeline", daemon=True).start()
    run_child(load_main(main), request)


def die_with_lifeline(lifeline: int) -> None:
    """Sleep in read(2) until whoever holds the other end is gone; then end this process and its group."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
