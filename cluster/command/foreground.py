"""What a command has started ends with it: where it does not come to its end, and, with `--block`, in any case."""

import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from ..process.launcher import NodeProcess

_LOOK_S = 0.5


@contextmanager
def all_or_nothing() -> Generator[list[tuple[str, NodeProcess]], None, None]:
    """End what was started in the block, the last first, if that is left by an error or by Ctrl-C.

    Returns:
        The list for what is started, each with its name.
    """
    started: list[tuple[str, NodeProcess]] = []
    try:
        yield started
    except BaseException:
        for _, process in reversed(started):
            process.end()
        raise


class Foreground:
    """Made before anything is started or said: from then on this process is told to end, instead of being ended."""

    def __init__(self) -> None:
        self._told = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._tell)

    def _tell(self, _number: int, _frame: Any) -> None:
        self._told.set()

    def stay(self, processes: Sequence[tuple[str, NodeProcess]]) -> int:
        """Wait until a process ends, or this one is told to end (SIGTERM, SIGINT), and end the others.

        Returns:
            The exit code: 0 when this process was told to end, or another was and ended well (by `cluster stop`, or
            because its cluster was stopped); 1 when a process died, so that systemd starts all of it again.
        """
        ended: str | None = None
        while not self._told.wait(_LOOK_S) and ended is None:
            ended = next((name for name, process in processes if not process.is_alive()), None)
        for name, process in processes:
            if name != ended:
                process.end()
        if ended is None:
            return 0
        process = dict(processes)[ended]
        if process.exit_code() == 0:
            sys.stderr.write(f"cluster: {ended} was stopped, or its cluster was.\n")
            return 0
        sys.stderr.write(f"cluster: {ended} has ended ({process.obituary() or 'no more is known'}); so all has.\n")
        return 1
