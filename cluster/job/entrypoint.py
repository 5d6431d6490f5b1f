"""A job's entrypoint: a shell's command line in a process group of its own, which ends with whoever started it."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import psutil

from ...exceptions.death import describe_signal

_TAIL_BYTES = 20_000
_TAIL_LINES = 10
_LOOK_S = 0.05
_GUARD = 'read -r _; kill -s KILL -- "-$0"'
"""A program that waits for the end of its standard input, and then kills a process group."""
_GUARDED = 'read -r _ && exec "$0" -c "$1" </dev/null'
"""A program that runs a command with a shell once it has read a line, and not if there comes none."""

_BY_SIGNAL = 128
"""A shell adds this to the number of the signal that ended its command."""
_MEMORY = ", as the kernel does where memory runs out"
_SHELL_CODES = {
    126: ": its program cannot be executed",
    127: ": there is no such program on that machine, or none in its PATH",
}


class Entrypoint:
    """A command that runs. Its methods may be called from any thread, `wait` from one.

    Attributes:
        pid: of the shell, which leads the process group.
        stopped: `stop` has been called while it ran.
    """

    def __init__(self, process: subprocess.Popen[bytes], guard: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._guard = guard
        self._log = log
        self._mutex = threading.Lock()
        self._stop_over = threading.Event()
        self.pid = process.pid
        self.stopped = False

    @classmethod
    def start(cls, command: str, environment: Mapping[str, str], log: Path) -> Self:
        """Start a command, with its output in a file that is made for it, or made empty.

        Should this process die, however that is, a guard kills what it has started: the guard's standard input ends
        then. The command begins when the guard is there.

        Raises:
            OSError: it cannot be started.
        """
        shell = shutil.which("bash") or "/bin/sh"
        descriptor = os.open(
            log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            process = subprocess.Popen(
                [shell, "-c", _GUARDED, shell, command],
                stdin=subprocess.PIPE,
                stdout=descriptor,
                stderr=descriptor,
                env=dict(environment),
                start_new_session=True,
            )
        finally:
            os.close(descriptor)
        try:
            guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, str(process.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                start_new_session=True,
            )
            _begin(process)
        except OSError:
            os.killpg(process.pid, signal.SIGKILL)
            with process:  # it is waited for, and its pipe is closed
                raise
        return cls(process, guard, log)

    def wait(self) -> int | None:
        """Wait until the command has ended, and end what it has left behind in its process group.

        Returns:
            Its exit code; None where a signal ended it.
        """
        # Not reaped at once: until then no other process can have that number, which is the group's, too.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        if self.stopped:
            self._stop_over.wait()  # what the command has started still has time to end
        self._signal_group(signal.SIGKILL)
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        with self._mutex:
            code = self._process.wait()
        return code if code >= 0 else None

    @property
    def ended_by(self) -> str:
        """How the command ended, in words, once `wait` has returned."""
        code = self._process.returncode
        if code < 0:
            return f"was ended by signal {describe_signal(-code)}{_MEMORY if code == -signal.SIGKILL else ''}"
        if _BY_SIGNAL < code <= _BY_SIGNAL + signal.SIGRTMAX:
            number = code - _BY_SIGNAL
            meaning = f": a program in it was ended by signal {describe_signal(number)}"
            meaning += _MEMORY if number == signal.SIGKILL else ""
        else:
            meaning = _SHELL_CODES.get(code, "")
        return f"failed with exit code {code}{meaning}"

    def stop(self, patience: float, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the command and all that it has started to end, and kill what has not after `patience` seconds."""
        with self._mutex:
            self.stopped = self._process.returncode is None
        try:
            asked = self._descendants()
            self._signal_group(number)
            _signal(asked, number)
            deadline = time.monotonic() + patience
            while _are_alive([*asked, *self._members()]) and time.monotonic() < deadline:
                time.sleep(_LOOK_S)  # what the command has started is no child of this process, and cannot be awaited
            _signal([*asked, *self._descendants()], signal.SIGKILL)
            self._signal_group(signal.SIGKILL)
        finally:
            self._stop_over.set()

    def tail(self) -> str:
        """The last lines that it printed."""
        with self._log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def _members(self) -> list[psutil.Process]:
        """The processes of its group."""
        found: list[psutil.Process] = []
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getpgid(pid) == self.pid:
                    found.append(psutil.Process(pid))
        return found

    def _descendants(self) -> list[psutil.Process]:
        """What it has started, also in other groups, as far as it has not been disowned."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _signal_group(self, number: signal.Signals) -> None:
        with self._mutex, contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:  # else the number may be another's by now
                os.killpg(self.pid, number)


def _begin(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as told:  # it has ended: `wait` says how
            told.write(b"\n")


def _are_alive(processes: Iterable[psutil.Process]) -> bool:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
