"""What a process that ends has said in its log of the step that it is at. Imports next to nothing: commands use it."""

import os
from pathlib import Path

MARK = "ending: "
"""What the log's lines of an ending begin with, after their times."""

_TAIL_BYTES = 64 * 1024


def last_step(log: Path) -> str:
    """The last of those lines in a log, without the mark; "" where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(MARK)[2] for line in reversed(lines) if MARK in line), "")
