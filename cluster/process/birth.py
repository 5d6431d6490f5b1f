"""The new node process's side of its birth: it takes its order, and reports until it is ready."""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Self

import msgspec

from .birth_message import LENGTH_SIZE, BirthOrder, BirthReport, OutputAt, Ready, StartFailed
from .title import set_process_title
from .watch import ProcessWatch


class NodeBirth:
    """The new node process's side. Not thread-safe.

    Attributes:
        config: what the driver passed.
        driver_pid, driver_identity: as in the order.
    """

    def __init__(self, order: BirthOrder, pipe: int) -> None:
        self.config = order.config
        self.driver_pid, self.driver_identity = order.driver_pid, order.driver_identity
        self._order = order
        self._pipe = pipe

    @classmethod
    def receive(cls, title: str = "limelight: node") -> Self:
        """Take the order from stdin, which is /dev/null afterwards. The first thing a node process does."""
        set_process_title(title)
        with os.fdopen(os.dup(0), "rb") as stdin:
            order = msgspec.msgpack.decode(stdin.read(), type=BirthOrder)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        pipe = int(sys.argv[1])
        if pipe >= 0:
            os.set_inheritable(pipe, False)
        return cls(order, pipe)

    @contextmanager
    def reporting(self) -> Generator[None, None, None]:
        """Report to the driver an error that is raised inside before `ready`, and end the process with code 1."""
        try:
            yield
        except Exception as error:
            if self._pipe < 0:
                raise
            trace = "".join(traceback.format_exception(error))
            sys.stderr.write(trace)
            self._send(StartFailed(type(error).__name__, str(error), trace))
            sys.exit(1)

    def redirect_output(self, path: Path) -> None:
        """Send this process's stdout and stderr to the end of that file, which is private."""
        sys.stdout.flush()
        sys.stderr.flush()
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.close(file)
        if self._pipe >= 0:
            self._send(OutputAt(str(path)))

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for this process to be ready."""
        return self._pipe >= 0

    def ready(self, info: bytes) -> None:
        """Tell the driver that the node serves."""
        if self._pipe < 0:
            return  # this process has begun anew: nobody waits any more
        self._send(Ready(info))
        os.close(self._pipe)
        self._pipe = -1

    def begin_anew(self) -> NoReturn:
        """Execute this process's program once more, with the same order: a node given up, a head replaced."""
        sys.stdout.flush()
        sys.stderr.flush()
        order = tempfile.TemporaryFile()  # noqa: SIM115 - it becomes the new program's standard input
        order.write(msgspec.msgpack.encode(self._order))
        order.flush()
        order.seek(0)
        os.dup2(order.fileno(), 0)
        arguments = list(sys.orig_argv)
        arguments[arguments.index("-c") + 2] = "-1"
        os.execv(sys.executable, arguments)  # noqa: S606 - our own interpreter and arguments

    def watch_driver(self, on_death: Callable[[], None]) -> ProcessWatch | None:
        """Have `on_death` called in the running loop when the driver dies, or has died; None where nobody waits."""
        if not self._order.driver_pid:
            return None
        return ProcessWatch(self._order.driver_pid, on_death, self._order.driver_identity)

    def _send(self, report: BirthReport) -> None:
        """Report to the driver.

        Raises:
            SystemExit: it has given up, by Ctrl-C for example, and nobody else would ever end this process.
        """
        body = msgspec.msgpack.encode(report)
        data = len(body).to_bytes(LENGTH_SIZE, "little") + body
        try:
            while data:
                data = data[os.write(self._pipe, data) :]
        except BrokenPipeError:
            if not self._order.driver_pid:
                sys.exit("whoever started this process does not wait for it any more")
            return  # the driver is gone; whoever watches it knows
