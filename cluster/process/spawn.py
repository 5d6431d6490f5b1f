"""What every way of starting a worker process shares: the request, the process, its end, and the spawner's contract.

Two spawners pass one contract suite (tests/cluster/process/test_spawner.py): `ZygoteClient` forks from a warm
interpreter, `FreshSpawner` starts a new one where forking is unsafe.
"""

import asyncio
import os
import resource
import sys
from dataclasses import dataclass
from typing import Protocol

import msgspec


class SpawnRequest(msgspec.Struct, frozen=True, array_like=True):
    """What a new worker process is told.

    Attributes:
        spawn_id: unique among the spawner's processes for the spawner's life; its processes are named by it, never by
            pid, so that a signal can not reach a stranger who inherited the pid.
        name: what `sys.argv[0]` and the process's title show, such as "limelight: worker idle".
        env: environment variables set in the worker on top of those of the spawner's process. Variables that a
            library reads while it is loaded (LD_LIBRARY_PATH; OMP_NUM_THREADS where numpy is preloaded) come too late
            for a forked worker.
        config: opaque bytes for the worker's main function.
    """

    spawn_id: str
    name: str
    env: dict[str, str]
    config: bytes


class ProcessExit(msgspec.Struct, frozen=True, array_like=True):
    """How a process ended. Exactly one of `exit_code` and `signal` is set; neither when the end could not be observed.

    Attributes:
        spawn_id: of the request that started it.
        pid: its process id; it belongs to nobody, or to a stranger, by now.
        exit_code: 0 to 255 where the process exited.
        signal: the signal that killed it.
        max_rss_bytes: peak resident memory, pages shared with the zygote among it; 0 where it is not known.
        core_dumped: the kernel wrote a core file.
    """

    spawn_id: str
    pid: int
    exit_code: int | None
    signal: int | None
    max_rss_bytes: int = 0
    core_dumped: bool = False


class SpawnError(OSError):
    """The operating system would not start a process. `errno` says why; the message says what to do."""


class SpawnerLostError(RuntimeError):
    """The spawner's helper process has died or was closed, so that it starts no processes any more."""


@dataclass(eq=False, slots=True)
class WorkerProcess:
    """A started process.

    Attributes:
        spawn_id: of the request.
        pid: its process id, also its process group's.
        exited: gets the `ProcessExit`; never fails. Cancelling it only stops the caller's waiting if shielded.
    """

    spawn_id: str
    pid: int
    exited: asyncio.Future[ProcessExit]


class Spawner(Protocol):
    """Starts worker processes for one event loop; not thread-safe.

    Every process is the leader of a process group of its own in its spawner's session, reads /dev/null, writes to the
    given pipes, ignores SIGINT until its main function decides otherwise, dies (with its group) when the spawner's
    process dies, however that happens, and takes its group with it when it ends. So a Ctrl-C at the driver's terminal
    never reaches a worker, and subprocesses that a task left behind end with the worker, unless they have moved to a
    session or group of their own.
    """

    async def spawn(self, request: SpawnRequest, stdout: int, stderr: int) -> WorkerProcess:
        """Start a process.

        Args:
            request: what it is told.
            stdout: file descriptor for its standard output. The spawner takes it over and closes it, always.
            stderr: likewise for its standard error.

        Raises:
            ValueError: a live process has that `spawn_id`.
            SpawnError: the operating system refuses.
            SpawnerLostError: the spawner is closed or its helper process has died.
        """
        ...

    def signal(self, spawn_id: str, signum: int) -> None:
        """Send a signal to a live process; no effect once it has ended, so it never reaches a stranger.

        Signals reach the process itself; its group gets SIGKILL when it ends.
        """
        ...

    async def close(self) -> None:
        """Kill all processes, wait for their ends (`exited` is resolved then) and release everything. Idempotent."""
        ...


def process_exit(
    spawn_id: str, pid: int, status: int, usage: resource.struct_rusage, inherited_rss: int = 0
) -> ProcessExit:
    """What `os.wait4` reported of a process.

    Args:
        spawn_id: of the request that started it.
        pid: its process id.
        status: see `os.wait4`.
        usage: see `os.wait4`.
        inherited_rss: what counts as its peak, in bytes, although it was another's: a peak up to that is not known.
    """
    killed = os.WIFSIGNALED(status)
    peak = peak_rss(usage)
    return ProcessExit(
        spawn_id=spawn_id,
        pid=pid,
        exit_code=None if killed else os.WEXITSTATUS(status),
        signal=os.WTERMSIG(status) if killed else None,
        max_rss_bytes=peak if peak > inherited_rss else 0,
        core_dumped=os.WCOREDUMP(status),
    )


def peak_rss(usage: resource.struct_rusage) -> int:
    """Peak resident memory in bytes. getrusage(2): Linux counts KiB, macOS bytes."""
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
