"""The zygote: a single-threaded process that has imported the runtime and forks workers from it.

It is forked from the node process before that starts any thread or loop, because a fork copies only the calling
thread, and whatever lock another thread held would stay locked for ever. It has no loop of its own: it sleeps in
poll(2) until the control socket brings a request or SIGCHLD says that a worker has ended.

Lifetimes: the end of the control socket (the node process is gone, or has closed it) ends the zygote, which kills and
reaps its workers first. Should the zygote itself be killed, the kernel kills its workers (PR_SET_PDEATHSIG). A zygote
whose node process was killed is the last that knows of the session: it sees to what would be left behind.
"""

import atexit
import contextlib
import errno
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from .child import WorkerMain, close_descriptors_but, die_with_parent, restore_signals, run_child, use_descriptors
from .control import ControlSocket, Exited, Signal, Spawn, Spawned, SpawnFailed, close_all, request_decoder
from .identity import is_exiting
from .spawn import SpawnRequest, process_exit
from .title import PADDING, set_process_title
from .zygote_client import ZygoteClient

MODULE = __spec__.name
"""This module, also where it is the main one."""

_STANDARD_STREAMS = 2
_WAKEUP_BYTES = 4096
_HANDLED_BY_ZYGOTE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def start_zygote(main: WorkerMain, orphaned: Callable[[], None] | None = None) -> ZygoteClient:
    """Fork a zygote from this process and return the client for it.

    Call it early, before any thread or event loop exists, and after importing what workers should have imported. The
    zygote and its workers keep none of this process's file descriptors but the standard streams. What this process has
    made so far is never garbage-collected again.

    Args:
        main: runs in each worker.
        orphaned: runs in the zygote when this process has died and not closed the client, after the last worker's end.

    Raises:
        RuntimeError: this process already has several Python threads.
    """
    if threading.active_count() > 1:
        names = ", ".join(thread.name for thread in threading.enumerate())
        raise RuntimeError(
            f"A zygote must be forked while the process has one thread, but it has {names}. "
            "Start the zygote first, or use FreshSpawner."
        )
    ours, theirs = socket.socketpair()
    flush_standard_streams()
    node_pid = os.getpid()
    # Frozen objects are never visited by the collector, here or in any child, so that their pages stay shared.
    # Collecting what garbage there is would write to all of them first.
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve_and_exit(theirs, main, lambda: _mourn(node_pid, orphaned) if orphaned is not None else None)
    theirs.close()
    return ZygoteClient(ours, pid)


def start_fresh_zygote(
    main: str,
    start: Sequence[str] = (sys.executable, "-m"),
    environment: Mapping[str, str] | None = None,
    output: int | None = None,
) -> ZygoteClient:
    """Start a zygote in a new interpreter; works in a process that has threads, and takes that much longer.

    Args:
        main: "module:function", importable in a fresh interpreter; importing it is what warms the zygote.
        start: the command that runs a module of this package; its name and arguments are appended. It becomes the
            zygote, rather than start it.
        environment: variables of the zygote and its workers, on top of this process's.
        output: a descriptor for what the zygote prints; the caller's.

    Raises:
        OSError: the interpreter cannot be started.
    """
    ours, theirs = socket.socketpair()
    theirs.set_inheritable(True)
    actions = [] if output is None else [(os.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)]
    with theirs:
        try:
            argv = [*start, MODULE, str(theirs.fileno()), main, PADDING]
            pid = os.posix_spawnp(start[0], argv, os.environ | (environment or {}), file_actions=actions)
        except BaseException:
            ours.close()
            raise
    return ZygoteClient(ours, pid)


class Zygote:
    """The zygote's loop. Single-threaded; everything happens between two polls."""

    def __init__(self, control: ControlSocket, main: WorkerMain) -> None:
        self._control = control
        self._main = main
        self._pids: dict[str, int] = {}
        self._spawn_ids: dict[int, str] = {}
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._wakeup, self._wakeup_writer = _wakeup_on_child_death()
        self._poll = select.poll()
        self._poll.register(self._wakeup, select.POLLIN)
        self._serving = True

    def serve(self) -> None:
        """Fork and reap until the control socket ends; no worker is left then."""
        sent = True
        while self._serving:
            self._poll.register(self._control, select.POLLIN if sent else select.POLLIN | select.POLLOUT)
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            # Ends before requests, so that a signal asked for afterwards meets only the living.
            if self._wakeup.fileno() in ready:
                self._wakeup.recv(_WAKEUP_BYTES)
                self._reap()
            if self._control.fileno() in ready:
                self._handle_requests()
            sent = self._flush()
        self._end_workers()

    def _handle_requests(self) -> None:
        messages, ended = self._control.receive()
        self._serving = not ended
        for message in messages:
            match request_decoder.decode(message):
                case Spawn(request):
                    descriptors = self._control.take_descriptors()
                    self._report(self._fork(request, descriptors))
                    close_all(descriptors)
                case Signal(spawn_id, signum):
                    self._signal(spawn_id, signum)

    def _fork(self, request: SpawnRequest, descriptors: list[int]) -> Spawned | SpawnFailed:
        if len(descriptors) != _STANDARD_STREAMS:
            return SpawnFailed(request.spawn_id, errno.EMFILE, "the zygote has run out of file descriptors (ulimit -n)")
        zygote_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            hint = "too many processes (ulimit -u, or the pids limit of the container)"
            reason = hint if isinstance(error, BlockingIOError) else "too little memory"
            return SpawnFailed(request.spawn_id, error.errno or 0, f"{error.strerror}: {reason}")
        if pid == 0:
            self._become_worker(request, descriptors, zygote_pid)
        with contextlib.suppress(OSError):  # the child does it too; whoever comes first
            os.setpgid(pid, pid)
        self._pids[request.spawn_id] = pid
        self._spawn_ids[pid] = request.spawn_id
        return Spawned(request.spawn_id, pid)

    def _become_worker(self, request: SpawnRequest, descriptors: list[int], zygote_pid: int) -> NoReturn:
        try:
            os.setpgid(0, 0)
            die_with_parent(zygote_pid)
            signal.set_wakeup_fd(-1)
            restore_signals((*_HANDLED_BY_ZYGOTE, signal.SIGCHLD))
            use_descriptors(self._null, *descriptors)
            self._close_descriptors(descriptors)
            run_child(self._main, request)
        finally:
            os._exit(1)  # never back into the zygote's loop

    def _close_descriptors(self, descriptors: list[int]) -> None:
        """In a worker, close what is the zygote's: everything it has, since it closed all else when it started."""
        self._control.close()
        self._wakeup.close()
        self._wakeup_writer.close()
        os.close(self._null)
        close_all(descriptors)

    def _signal(self, spawn_id: str, signum: int) -> None:
        pid = self._pids.get(spawn_id)
        if pid is not None:  # not reaped yet, so the pid is still the worker's
            with contextlib.suppress(PermissionError):  # it runs as another user now
                os.kill(pid, signum)

    def _reap(self, *, wait: bool = False) -> None:
        """Report the workers that have ended; with `wait`, wait for all."""
        while self._pids:
            # Look before reaping: while the worker is a zombie its pid, and so its group's, belongs to nobody else.
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG))
            if ended is None:
                return
            spawn_id = self._spawn_ids.pop(ended.si_pid, None)
            if spawn_id is not None:
                del self._pids[spawn_id]
                with contextlib.suppress(OSError):
                    os.killpg(ended.si_pid, signal.SIGKILL)
            _, status, usage = os.wait4(ended.si_pid, 0)
            if spawn_id is not None:
                self._report(Exited(process_exit(spawn_id, ended.si_pid, status, usage)))

    def _report(self, message: Spawned | SpawnFailed | Exited) -> None:
        try:
            self._control.send(message)
        except OSError:
            self._serving = False  # nobody listens any more

    def _flush(self) -> bool:
        try:
            return self._control.flush()
        except OSError:
            self._serving = False
            return True

    def _end_workers(self) -> None:
        for pid in self._spawn_ids:
            with contextlib.suppress(PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._reap(wait=True)


def flush_standard_streams() -> None:
    """Before a fork: what is buffered would be written once by each process."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _mourn(node_pid: int, orphaned: Callable[[], None]) -> None:
    """If the node process has died (rather than closed the control socket), call `orphaned` when it is gone."""
    if os.getppid() != node_pid:  # reaped by somebody: init is the parent now
        orphaned()
    elif is_exiting(node_pid):
        with contextlib.suppress(OSError):  # it is gone, or the system is old and cannot tell
            descriptor = os.pidfd_open(node_pid)
            ended = select.poll()
            ended.register(descriptor, select.POLLIN)
            ended.poll()
            os.close(descriptor)
        orphaned()


def _serve_and_exit(sock: socket.socket, main: WorkerMain, after: Callable[[], None] | None = None) -> NoReturn:
    """Be a zygote in this process; `after` its last worker's end, do that."""
    code = 1
    try:
        close_descriptors_but(sock.fileno())
        restore_signals()
        for number in _HANDLED_BY_ZYGOTE:
            # Only the end of the control socket ends a zygote: a Ctrl-C or a service manager's SIGTERM goes to the
            # whole group, and the node process wants to end its workers in order.
            signal.signal(number, signal.SIG_IGN)
        atexit._clear()  # noqa: SLF001 - the node process's handlers are not the workers'
        set_process_title("limelight: zygote")
        gc.disable()
        gc.freeze()
        Zygote(ControlSocket(sock), main).serve()
        if after is not None:
            after()
        code = 0
    except BaseException:  # noqa: BLE001 - the outermost frame; without it the fork would run on in the node's code
        traceback.print_exc()
    finally:
        flush_standard_streams()
        os._exit(code)


def _wakeup_on_child_death() -> tuple[socket.socket, socket.socket]:
    """A socket that becomes readable when a child ends, and its other end, to be kept."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    # Python writes to the wakeup descriptor only for signals that have a Python handler.
    signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    return reader, writer


def load_main(name: str) -> WorkerMain:
    """The function that "module:function" names."""
    module, _, function = name.partition(":")
    main: Any = importlib.import_module(module)
    for part in function.split("."):
        main = getattr(main, part)
    return main


if __name__ == "__main__":
    _serve_and_exit(socket.socket(fileno=int(sys.argv[1])), load_main(sys.argv[2]))
