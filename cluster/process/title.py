"""What `ps` and `top` show for a process of Limelight.

The kernel shows as a process's command line whatever lies in the memory where its arguments were put at its start.
Writing there is one memory copy of a microsecond, cheap enough to name every task; the room is that of the original
arguments, which whoever starts the interpreter makes large enough (see `PADDING`).
"""

import sys
from collections.abc import Callable
from pathlib import Path

TITLE_START = "limelight: "
"""Titles of Limelight's processes begin so."""

PADDING = "-" * 40
"""An extra argument that makes room for a title."""


class ProcessTitle:
    """This process's title. Forked children inherit the room and may each set their own. No effect but on Linux."""

    def __init__(self) -> None:
        import ctypes  # by those that take a title only: the launcher, which is in a hurry, just needs `PADDING`

        self._address, self._room = _argument_memory(ctypes.string_at)
        self._write = ctypes.memmove
        self._shown = b""

    def set(self, title: str) -> None:
        """Show this title, cut to the room there is. Thread-safe."""
        shown = title.encode(errors="replace")[: max(self._room - 1, 0)]
        if shown != self._shown and self._room:
            # The last byte stays NUL: the kernel takes anything else as a sign that the title runs on.
            self._write(self._address, shown.ljust(self._room, b"\0"), self._room)
            self._shown = shown


def _argument_memory(read: Callable[[int, int], bytes]) -> tuple[int, int]:
    """Address and size of the process's arguments; (0, 0) where they are not known for certain."""
    if sys.platform != "linux":
        return 0, 0
    try:
        stat = Path("/proc/self/stat").read_bytes()
        arguments = Path("/proc/self/cmdline").read_bytes()
    except OSError:
        return 0, 0
    # proc(5): fields 48 and 49 are arg_start and arg_end; field 3 is the first after the name in parentheses.
    fields = stat[stat.rindex(b")") + 2 :].split()
    start, end = int(fields[45]), int(fields[46])
    if start == 0 or end - start != len(arguments) or read(start, end - start) != arguments:
        return 0, 0
    return start, end - start


_title: ProcessTitle | None = None


def set_process_title(title: str) -> None:
    """Show this title for the process in `ps`."""
    global _title
    if _title is None:
        _title = ProcessTitle()
    _title.set(title)


def title_of(pid: int) -> str:
    """The title that a process shows, or the first of its arguments; "" where there is no such process."""
    import psutil  # not needed by those who only show a title

    try:
        return psutil.Process(pid).cmdline()[0]
    except (psutil.Error, IndexError):
        return ""


def work_of(pid: int) -> str:
    """What a worker runs, as its title says."""
    return title_of(pid).removeprefix(TITLE_START) or "a task"
