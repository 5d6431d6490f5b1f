"""What a new worker process does before and after its main function, whether it was forked or freshly started."""

import atexit
import ctypes
import faulthandler
import gc
import os
import random
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from .spawn import SpawnRequest
from .task_stream import TaskStream
from .title import set_process_title

WorkerMain = Callable[[SpawnRequest], None]
"""A worker's main function. Its return ends the process with exit code 0; SystemExit and errors as in a script."""

# Ray's value: when memory runs out the kernel takes a worker, whose loss is survived, before a node process.
_OOM_SCORE = b"1000"
_PR_SET_PDEATHSIG = 1
_FIRST_FREE_DESCRIPTOR = 3
# Loaded before the fork, which then has nothing to load.
_libc: ctypes.CDLL | None = ctypes.CDLL(None) if sys.platform == "linux" else None
# What the interpreter ignores from its start: a broken pipe, or a file that is too large, is an exception.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def run_child(main: WorkerMain, request: SpawnRequest) -> NoReturn:
    """Run a worker's main function in this process, of which descriptors 0 to 2 are in place, and end the process."""
    code = 1
    try:
        _prepare(request)
        main(request)
        code = 0
    except SystemExit as exit_:
        code = _exit_code(exit_)
    except BaseException:  # noqa: BLE001 - the outermost frame of the process; the traceback is its last word
        traceback.print_exc()
    _finish(code)


def use_descriptors(stdin: int, stdout: int, stderr: int) -> None:
    """Make these descriptors the process's standard streams."""
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)


def close_descriptors_but(*kept: int) -> None:
    """Close every file descriptor but the standard streams and these."""
    start = _FIRST_FREE_DESCRIPTOR
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that forked it dies (Linux; prctl(2), PR_SET_PDEATHSIG)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent_pid:  # it died before the kernel was asked
            os._exit(1)


def restore_signals(numbers: Iterable[int] = ()) -> None:
    """Default dispositions, so that what this process starts has them too, but SIGINT, which does nothing for now.

    SIGINT gets a handler and is not ignored, because subprocesses would inherit that. The main function may install a
    handler of its own, to cancel what runs.

    Args:
        numbers: the signals to restore; all where none are named.
    """
    for number in numbers or signal.valid_signals().difference(_IGNORED_BY_PYTHON):
        if signal.getsignal(number) not in {signal.SIG_DFL, None}:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, _ignore_interrupt)


def _ignore_interrupt(_signum: int, _frame: types.FrameType | None) -> None:
    """A worker does not end because somebody pressed Ctrl-C."""


def _prepare(request: SpawnRequest) -> None:
    os.environ.update(request.env)
    sys.argv = [request.name]
    # An empty __main__, so that user code does not meet the names of whatever program started this process.
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.stdout = TaskStream(1)
    sys.stderr = TaskStream(2)
    faulthandler.enable(file=2, all_threads=True)
    set_process_title(request.name)
    _prefer_for_oom()
    _reseed()
    gc.enable()


def _prefer_for_oom() -> None:
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(descriptor, _OOM_SCORE)
        finally:
            os.close(descriptor)
    except OSError:
        return  # not Linux, or a container that does not allow it: then the kernel decides by size alone


def _reseed() -> None:
    """Random numbers must differ between processes forked from one. Python's own `random` sees to itself at a fork."""
    random.seed()
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(int.from_bytes(os.urandom(8), "little") >> 1)


def _exit_code(exit_: SystemExit) -> int:
    """As the interpreter reads it: None is 0, an int is itself, anything else is printed and 1."""
    if exit_.code is None:
        return 0
    if isinstance(exit_.code, int):
        return exit_.code & 0xFF
    sys.stderr.write(f"{exit_.code}\n")  # what the interpreter does with sys.exit("message")
    return 1


def _finish(code: int) -> NoReturn:
    """End as an interpreter ends, but without unwinding the frames of the process this one was forked in."""
    try:
        # These two are what the interpreter itself calls at its end; multiprocessing's forked children do the same.
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]  # noqa: SLF001 - see above
        atexit._run_exitfuncs()  # noqa: SLF001 - see above
    except BaseException:  # noqa: BLE001 - a handler's error must not keep the process alive
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120  # what the interpreter exits with when the last flush fails
    os._exit(code)
