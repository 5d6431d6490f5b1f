"""Errors that nobody looks at: the last ref to a failed task's result is gone, and no `get` has raised the error."""

import functools
import logging
import os
from typing import TYPE_CHECKING

from ..serialization import describe_failure
from .entry import ObjectEntry

if TYPE_CHECKING:
    from .object_table import ObjectTable

_SILENCE = ("LIMELIGHT_IGNORE_UNHANDLED_ERRORS", "RAY_IGNORE_UNHANDLED_ERRORS")
_MOST_REMEMBERED = 1000

logger = logging.getLogger("limelight")


class UnseenErrors:
    """Watches failed objects of this process, and logs what would be lost. Once for each task and error."""

    def __init__(self, table: "ObjectTable") -> None:
        self._table = table
        self._told: set[tuple[str, str]] = set()
        self._silent = any(os.environ.get(name) == "1" for name in _SILENCE)

    def watch(self, entry: ObjectEntry, error: bytes) -> None:
        """An entry is about to fail with that error. On the wire thread."""
        if self._silent or entry.on_free is not None or not describe_failure(error)[0]:
            return
        if entry.freed:
            self._tell(error)
        else:
            entry.on_free = functools.partial(self._tell, error)
            self._table.track(entry)

    @staticmethod
    def seen(entry: ObjectEntry) -> None:
        """Somebody has the error of an entry now, or will not want it should it fail, too. From any thread."""
        entry.on_free = _ignore

    def _tell(self, error: bytes) -> None:
        name, summary, report = describe_failure(error)
        if (name, summary) in self._told or len(self._told) >= _MOST_REMEMBERED:
            return
        self._told.add((name, summary))
        logger.error("The result of a task that failed was dropped, and nobody has seen its error: %s", report)


def _ignore() -> None:
    """Nobody needs to be told."""
