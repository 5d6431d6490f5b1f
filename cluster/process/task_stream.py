"""A worker's own side of its output: the name of what runs goes in-band before the first line it prints.

So a task that prints nothing costs nothing, and lines and names can not get out of step.
"""

import contextlib
import io
import sys

from .log_batch import NAME_MARK
from .title import set_process_title

_name = ""


def announce(name: str) -> None:
    """Say what this worker runs now, "f" or "Counter" or "Counter.add": for `ps`, and before the next line it prints.

    Microseconds where the name is new, nothing where it is not. Call it from the thread that runs tasks.
    """
    global _name
    if name != _name:
        _name = name
        set_process_title(f"limelight: {name}" if name else "limelight: worker idle")


def finish_lines() -> None:
    """Send what was printed without an end of line on its way: the task that printed it has ended."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TaskStream) and stream.in_line:
            with contextlib.suppress(OSError, ValueError):  # the task has closed it: then nobody is to see it
                stream.flush()


class TaskStream(io.TextIOWrapper):
    """A line-buffered text stream on a descriptor of this process that names whose lines it carries.

    Any text can be written to it: what UTF-8 does not have is escaped.

    Attributes:
        in_line: the last text had no end of line.
    """

    def __init__(self, descriptor: int) -> None:
        # A new buffer: an inherited one remembers what its descriptor was before, such as a file that can seek.
        buffer = open(descriptor, "wb", closefd=False)  # noqa: SIM115 - lives as long as the stream
        super().__init__(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        self._named = ""
        self.in_line = False

    def write(self, text: str) -> int:
        """Write text; if another task has begun since the last, its name goes before it, on a line of its own."""
        if self._named != _name and text:
            self._named = _name
            super().write(f"{chr(10) if self.in_line else ''}{NAME_MARK}{_name}\n")
        if text:
            self.in_line = not text.endswith("\n")
        return super().write(text)
