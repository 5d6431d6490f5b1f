"""The node process's side of a zygote."""

import asyncio
import contextlib
import os
import signal
import socket

from .control import ControlSocket, Exited, Signal, Spawn, Spawned, SpawnFailed, close_all, report_decoder
from .spawn import ProcessExit, SpawnerLostError, SpawnError, SpawnRequest, WorkerProcess

_CLOSE_SECONDS = 5.0


class ZygoteClient:
    """A `Spawner` that has a zygote fork. Belongs to the event loop that first uses it; not thread-safe.

    When the zygote dies, the kernel kills its workers; their `exited` then resolves without exit code or signal.
    """

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.pid = pid
        self._control = ControlSocket(sock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: dict[str, asyncio.Future[WorkerProcess]] = {}
        self._live: dict[str, WorkerProcess] = {}
        self._ended: asyncio.Event = asyncio.Event()
        self._closing = False

    def is_alive(self) -> bool:
        """Whether it can still fork."""
        return not self._closing and not self._ended.is_set()

    async def spawn(self, request: SpawnRequest, stdout: int, stderr: int) -> WorkerProcess:
        """See `Spawner.spawn`. A cancelled spawn kills the worker once it is there."""
        if (
            self._closing
            or self._ended.is_set()
            or request.spawn_id in self._starting
            or request.spawn_id in self._live
        ):
            close_all((stdout, stderr))
            if self._closing or self._ended.is_set():
                raise SpawnerLostError(self._why_lost())
            raise ValueError(f"A live process already has the spawn id {request.spawn_id!r}.")
        loop = self._attach()
        started: asyncio.Future[WorkerProcess] = loop.create_future()
        self._starting[request.spawn_id] = started
        self._send(Spawn(request), (stdout, stderr))
        return await started

    def signal(self, spawn_id: str, signum: int) -> None:
        """See `Spawner.signal`. The zygote decides, which is also who reaps."""
        if (spawn_id in self._live or spawn_id in self._starting) and not self._ended.is_set():
            self._send(Signal(spawn_id, signum))

    async def close(self) -> None:
        """See `Spawner.close`."""
        loop = self._attach()
        if not self._closing:
            self._closing = True
            self._control.shutdown_sending()
        late = loop.call_later(_CLOSE_SECONDS, self._kill_zygote)
        try:
            await self._ended.wait()
        finally:
            late.cancel()

    def _attach(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._control.fileno(), self._receive)
        return self._loop

    def _send(self, message: Spawn | Signal, descriptors: tuple[int, ...] = ()) -> None:
        loop = self._attach()
        with contextlib.suppress(OSError):  # the zygote is gone: the reader sees it too and fails everything
            if not self._control.send(message, descriptors):
                loop.add_writer(self._control.fileno(), self._flush)

    def _flush(self) -> None:
        try:
            done = self._control.flush()
        except OSError:
            done = True  # as in _send
        if done:
            self._attach().remove_writer(self._control.fileno())

    def _receive(self) -> None:
        messages, ended = self._control.receive()
        for message in messages:
            match report_decoder.decode(message):
                case Spawned(spawn_id, pid):
                    self._on_spawned(spawn_id, pid)
                case SpawnFailed(spawn_id, number, reason):
                    started = self._starting.pop(spawn_id)
                    if not started.done():
                        started.set_exception(SpawnError(number, f"Could not start a worker process: {reason}"))
                case Exited(exit_):
                    process = self._live.pop(exit_.spawn_id)
                    if not process.exited.done():
                        process.exited.set_result(exit_)
        if ended:
            self._on_lost()

    def _on_spawned(self, spawn_id: str, pid: int) -> None:
        started = self._starting.pop(spawn_id)
        process = WorkerProcess(spawn_id, pid, self._attach().create_future())
        self._live[spawn_id] = process
        if started.done():  # whoever asked was cancelled
            self.signal(spawn_id, signal.SIGKILL)
        else:
            started.set_result(process)

    def _on_lost(self) -> None:
        """The zygote closed its end, which it does only by ending."""
        loop = self._attach()
        loop.remove_reader(self._control.fileno())
        loop.remove_writer(self._control.fileno())
        self._control.close()
        self._reap_zygote()
        self._ended.set()
        for started in self._starting.values():
            if not started.done():
                started.set_exception(SpawnerLostError(self._why_lost()))
        for process in self._live.values():
            if not process.exited.done():
                process.exited.set_result(ProcessExit(process.spawn_id, process.pid, None, None))
        self._starting.clear()
        self._live.clear()

    def _reap_zygote(self) -> None:
        """The socket closed as the zygote ended, so this waits for the rest of one exit system call."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _kill_zygote(self) -> None:
        """It did not end in time: a worker hangs in the kernel. The kernel kills the workers with it."""
        if not self._ended.is_set():
            os.kill(self.pid, signal.SIGKILL)

    def _why_lost(self) -> str:
        if self._closing:
            return "The spawner is closed; it starts no processes any more."
        return (
            f"The zygote (pid {self.pid}), which starts the workers, has died, and the workers with it. "
            "Someone killed it, or the kernel did for lack of memory: see the end of the node's log and dmesg."
        )
