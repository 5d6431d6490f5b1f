"""The standard streams of a process whose user code may have closed them."""

import contextlib
import sys


def flush() -> None:
    """Send out what was printed, where it still can be."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError, AttributeError):  # closed, broken, or replaced by None
            stream.flush()
