"""How a driver starts a node process: a fresh interpreter in a session of its own, and never a hang.

In a session of its own, a Ctrl-C at the driver's terminal reaches neither the node nor its workers; the node ends
because it watches the driver, or because it is told to.

Whoever calls `init` waits for all that is imported before the new process runs: what this module imports is little, and
no asyncio. The driver imports the rest while the node process starts.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from .birth_message import LENGTH_SIZE, BirthOrder, OutputAt, Ready, StartFailed, report_decoder
from .identity import process_identity
from .title import PADDING

_TAIL_BYTES = 1 << 14
_READ_SIZE = 1 << 16
_LAST_STANDARD = 2
_SECRETS = {"LIMELIGHT_TOKEN"}
"""Variables that are for the command that was typed: the node has what they say from its config, and users' programs,
which would show them to whoever looks at their environment, need none of it."""
_END_SECONDS = 10.0
_TELLING = {
    "ValueError",
    "TypeError",
    "SessionFolderError",
    "AddressInUseError",
    "AuthenticationError",
    "ConnectError",
    "DeadlineExceededError",
    "HeadElsewhereError",
    "SpillStorageError",
    "StateStoreError",
    "TlsError",
    "VersionMismatchError",
    "WrongHeadError",
}
"""Errors that are about what the process was told, or where it was told to live: their words say all."""
_PACKAGE = __name__.partition(".")[0]
# -P and the appended path: neither a file in the user's folder may stand in for a module that the node imports, nor
# must the package be installed where the driver found it by a path of its own.
# What imports make is hardly ever garbage: looking for it would take a tenth of their time.
_START = "import gc, sys; gc.disable(); sys.path.append(sys.argv[3]); __import__(sys.argv[2], fromlist=['main']).main()"


class NodeStartError(RuntimeError):
    """A node process did not start. The message has its error, or its exit code and the end of its output.

    Attributes:
        error_type: class name of the error that it reported; "" where it ended without a word.
        text: that error's message.
    """

    def __init__(self, message: str, error_type: str = "", text: str = "") -> None:
        super().__init__(message)
        self.error_type = error_type
        self.text = text


class NodeProcess:
    """A node process that this process started, and which is ready.

    Attributes:
        pid: its process id.
        info: what it said when it was ready.
    """

    def __init__(self, process: subprocess.Popen[bytes], info: bytes) -> None:
        self._process = process
        self.pid = process.pid
        self.info = info

    def is_alive(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def exit_code(self) -> int | None:
        """Its exit code, negative for the number of a signal; None while it lives."""
        return self._process.poll()

    def obituary(self, patience: float = 0.2) -> str:
        """How it ended, in a few words; "" when it has not, `patience` seconds after its connections broke."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return ""
        return f"it ended, {_ended(self._process)}"

    def end(self, timeout: float = _END_SECONDS) -> None:
        """Ask it to end (SIGTERM) and wait; kill it after `timeout` seconds. Its workers end with it. Idempotent."""
        if self.is_alive():
            self._process.terminate()
        self.wait(timeout)

    def wait(self, timeout: float = _END_SECONDS) -> None:
        """Wait for its end, after it was told to end over its channel; kill it after `timeout` seconds."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def launch_node(
    config: bytes,
    *,
    main: str = f"{_PACKAGE}.cluster.node_main",
    timeout: float = 30.0,
    detached: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> NodeProcess:
    """Start a node process and wait until it is ready. Blocks; may be called from any thread.

    Args:
        config: for the node, any bytes; nobody else on the machine can read them.
        main: module whose `main()` is the node's main function; it begins with `NodeBirth.receive()`, and turns on the
            garbage collector, which is off so that imports take less time.
        timeout: seconds until it must be ready.
        detached: it does not end with this process.
        meanwhile: what this process can do while the node starts.

    Raises:
        NodeStartError: it reported an error, ended, or was not ready in time. No process is left, and no session.
    """
    order = BirthOrder(0, "", config) if detached else BirthOrder(os.getpid(), process_identity(os.getpid()), config)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as reports, tempfile.TemporaryFile() as output:
        try:
            process = _start(order, main, writer, output)
        finally:
            os.close(writer)
        try:
            if meanwhile is not None:
                meanwhile()
            return NodeProcess(process, _wait_until_ready(process, reports, output, timeout))
        except BaseException:
            process.kill()  # also on Ctrl-C; what it has started ends with it
            process.wait()
            _clear_away(process.pid)
            raise


def _clear_away(pid: int) -> None:
    """Remove the session of a process that was killed while it started: it may have had no heir yet."""
    # See the module's docstring.
    from ..session_info import SessionFolderError
    from ..session_remains import remove_of

    with contextlib.suppress(SessionFolderError):  # then it could not make one, either
        remove_of(pid)


def occupy_standard_descriptors() -> None:
    """Give a program that was started with some of its standard streams closed /dev/null in their place.

    Descriptors 0 to 2 must not become sockets: whoever prints would write to them, and libuv refuses to close them.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= _LAST_STANDARD:
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def _start(order: BirthOrder, main: str, writer: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
    package_parent = str(Path(sys.modules[_PACKAGE].__path__[0]).parent)
    # The flags this interpreter was started with (-O, -W, -X ...); multiprocessing passes them on in the same way.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # pyright: ignore  # noqa: SLF001, PGH003 - see above
    with tempfile.TemporaryFile() as stdin:  # a file and not a pipe, which a process that hangs would not empty
        stdin.write(msgspec.msgpack.encode(order))
        stdin.seek(0)
        return subprocess.Popen(
            [sys.executable, *flags, "-P", "-c", _START, str(writer), main, package_parent, PADDING],
            stdin=stdin,
            stdout=output,
            stderr=output,
            pass_fds=[writer],
            env={name: value for name, value in os.environ.items() if name not in _SECRETS},
            start_new_session=True,
        )


def _wait_until_ready(process: subprocess.Popen[bytes], reports: IO[bytes], output: IO[bytes], timeout: float) -> bytes:
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(reports, select.POLLIN)
    log: Path | None = None
    received = bytearray()
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        data = os.read(reports.fileno(), _READ_SIZE)
        if not data:
            # The pipe closes as the process ends; should it live on all the same, it is not ready in time.
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                break
            raise NodeStartError(f"The node process ended while it started, {_ended(process)}.{_tail(output, log)}")
        received += data
        while (message := _take_message(received)) is not None:
            match report_decoder.decode(message):
                case OutputAt(path):
                    log = Path(path)
                case Ready(info):
                    return info
                case StartFailed(error_type, text, trace):
                    # Of what was asked for, rather than of the code: the text says all.
                    about = text if error_type in _TELLING else f"{error_type}: {text}\n{trace}"
                    raise NodeStartError(f"The node process could not start: {about}", error_type, text)
    raise NodeStartError(
        f"The node process (pid {process.pid}) was not ready within {timeout:g} s and was killed.{_tail(output, log)}"
    )


def _take_message(received: bytearray) -> bytes | None:
    """Take the first complete message out of what has come."""
    if len(received) < LENGTH_SIZE:
        return None
    end = LENGTH_SIZE + int.from_bytes(received[:LENGTH_SIZE], "little")
    if len(received) < end:
        return None
    message = bytes(received[LENGTH_SIZE:end])
    del received[:end]
    return message


def _ended(process: subprocess.Popen[bytes]) -> str:
    code = process.returncode
    if code < 0:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    return f"with exit code {code}"


def _tail(output: IO[bytes], log: Path | None) -> str:
    """The end of its output, for an error message."""
    from .death import split_fault_dump  # see the module's docstring

    output.seek(0)
    written = output.read()
    if log is not None:
        try:
            written += log.read_bytes()
        except OSError as error:
            written += f"[{log} could not be read: {error}]".encode()
    words, dump = split_fault_dump(written[-_TAIL_BYTES:].decode(errors="replace"))
    text = (words.rstrip() + "\n" + dump).strip()
    return f" The end of its output:\n{text}" if text else " It wrote nothing."
