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
_DROPPED = "The result of a task that failed was dropped, and nobody has seen its error: "

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

    def actor_failed(self, error: bytes) -> None:
        """An actor has died that nobody has called yet. Of interest is only that its constructor raised."""
        if not self._silent and error and describe_failure(error)[0]:
            self._tell(error, "The constructor of an actor that nobody has called failed: ")

    def _tell(self, error: bytes, what: str = _DROPPED) -> None:
        name, summary, report = describe_failure(error)
        if (name, summary) in self._told or len(self._told) >= _MOST_REMEMBERED:
            return
        self._told.add((name, summary))
        logger.error("%s%s", what, report)


def _ignore() -> None:
    """Nobody needs to be told."""
