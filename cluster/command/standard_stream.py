"""The streams that a command speaks through, whatever the shell has made of them.

They may be closed (`>&-`), full (`>/dev/full`), read by somebody who has gone (`| head -1`), or of an encoding that
lacks letters. None of that is an error of the cluster that is asked: who catches those must not catch this.
"""

import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..process.launcher import occupy_standard_descriptors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NULL = Path(os.devnull)
_BROKEN_PIPE = 141
"""128, and the number of SIGPIPE: what a shell says of a program whose reader has gone."""


class _StreamError(Exception):
    """What was said cannot be written; not an `OSError`, see above."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause.strerror)
        self.reader_gone = isinstance(cause, BrokenPipeError)


class _Descriptor(io.FileIO):
    """Fails once; what is still buffered then goes nowhere, as does what is said on the way out."""

    _lost = False

    def write(self, data: "ReadableBuffer", /) -> int:
        if self._lost:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._lost = True
            raise _StreamError(error) from None


@contextmanager
def standard_streams() -> Generator[None]:
    """Let a command speak by `sys.stdout` and `sys.stderr`, and see that all it says is written.

    Raises:
        SystemExit: it cannot be: with 141, without a word, where the reader has gone, and 1 otherwise.
    """
    occupy_standard_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = sys.stdin or _NULL.open(encoding="utf-8")
    sys.stdout, sys.stderr = _speaking(sys.stdout), _speaking(sys.stderr)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    except _StreamError as error:
        if not error.reader_gone:
            with suppress(_StreamError):
                sys.stderr.write(f"cluster: What it says cannot be written: {error}.\n")
                sys.stderr.flush()
        raise SystemExit(_BROKEN_PIPE if error.reader_gone else 1) from None
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


def _speaking(stream: TextIO | None) -> TextIO:
    """A stream in place of a standard one, or that itself where it is not the process's own (a test's)."""
    if stream is None:
        return _NULL.open("w", encoding="utf-8")
    if stream not in {sys.__stdout__, sys.__stderr__} or not isinstance(stream, io.TextIOWrapper):
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering or stream.write_through,  # the latter with PYTHONUNBUFFERED
    )
