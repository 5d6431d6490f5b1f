"""The traceback of a failed task, as people should see it: their own frames."""

import os
import traceback
from pathlib import Path

_ROOT = Path(__file__).absolute().parent.parent  # as code objects have it: not resolved
_FRAMEWORK = tuple(f"{_ROOT / folder}{os.sep}" for folder in ("actors", "cluster", "exceptions", "transport"))
_USED_BY_FRAMEWORK = (os.path.join("concurrent", "futures", "_base.py"),)  # noqa: PTH118 - a string to compare with
MAX_TEXT = 64 * 1024
"""A longer traceback loses its middle: its start says where the failure came from, its end what it was."""


def format_trace(exc: BaseException) -> str:
    """The traceback of `exc` and of the exceptions it came from, without the frames of the framework.

    Frames are kept when there would be none left, so that a failure of the framework itself can be found. Never
    raises, whatever the exception's `__str__` does.
    """
    try:
        report = traceback.TracebackException.from_exception(exc)
        _trim(report, set())
        text = "".join(report.format())
    except Exception as failure:  # noqa: BLE001  # user code (`__str__`, `__notes__`) runs here and may raise anything
        text = f"{type(exc).__qualname__} (its traceback could not be formatted: {type(failure).__name__})\n"
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}\n... {len(text) - MAX_TEXT} characters left out ...\n{text[-half:]}"


def forget_framework_frames(exc: BaseException) -> None:
    """Drop the traceback of an error that the framework raised about what a user did: its message says all."""
    entry = exc.__traceback__
    while entry is not None:
        path = entry.tb_frame.f_code.co_filename
        if not is_framework_file(path) and not path.endswith(_USED_BY_FRAMEWORK):
            return
        entry = entry.tb_next
    exc.__traceback__ = None


def is_framework_file(path: str) -> bool:
    """Whether a frame of that file is the framework's own, which people do not want to see."""
    return path.startswith(_FRAMEWORK)


def describe_exception(exc: BaseException) -> str:
    """The last line of a traceback: "ValueError: bad". Never raises."""
    try:
        return "".join(traceback.format_exception_only(exc)).strip()
    except Exception:  # noqa: BLE001  # user code runs here and may raise anything
        return type(exc).__qualname__


def _trim(report: traceback.TracebackException, seen: set[int]) -> None:
    if id(report) in seen:
        return
    seen.add(id(report))
    kept = [frame for frame in report.stack if not frame.filename.startswith(_FRAMEWORK)]
    if kept:
        report.stack = traceback.StackSummary.from_list(kept)
    for related in (report.__cause__, report.__context__, *(report.exceptions or ())):
        if related is not None:
            _trim(related, seen)
