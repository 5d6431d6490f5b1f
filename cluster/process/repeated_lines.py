"""Collapses lines that many workers print, for a person who watches. Sans-I/O: time comes in as an argument.

Two lines are alike when they differ only in words with digits. The first is shown at once. As long as one process alone
prints it, all are shown; once a second process does, the others are counted for a few seconds, and then the latest is
shown with that count. The log files keep every line.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from .log_batch import LogBatch

_WORD_WITH_DIGIT = re.compile(r"\S*\d\S*")
_MAX_PATTERNS = 10_000


class ShownLine(NamedTuple):
    """A line to show: whose it is, its text, and how many lines like it are shown by it."""

    batch: LogBatch
    text: str
    times: int


@dataclass(slots=True)
class _Pattern:
    """Lines that are alike, within one time window."""

    deadline: float
    sources: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    held: int = 0
    last: tuple[LogBatch, str] | None = None


class RepeatedLines:
    """See the module.

    Args:
        window: seconds for which repetitions are counted before they are shown.
        never_collapse: lines this matches are always shown.
        skip: lines this matches are never shown.
    """

    def __init__(
        self, window: float, never_collapse: re.Pattern[str] | None = None, skip: re.Pattern[str] | None = None
    ) -> None:
        self._window = window
        self._never_collapse = never_collapse
        self._skip = skip
        self._patterns: dict[tuple[str, str], _Pattern] = {}  # oldest deadline first

    @property
    def deadline(self) -> float | None:
        """When `expire` should be called next; None when there is nothing to expire."""
        return next(iter(self._patterns.values())).deadline if self._patterns else None

    def feed(self, batch: LogBatch, now: float) -> list[ShownLine]:
        """What to show now that these lines have come."""
        shown = self.expire(now)
        for text in batch.lines:
            if self._skip is not None and self._skip.search(text):
                continue
            if self._collapses(batch, text, now):
                continue
            shown.append(ShownLine(batch, text, 1))
        while len(self._patterns) > _MAX_PATTERNS:  # every line differs: remember the newest
            shown += _held_line(self._patterns.pop(next(iter(self._patterns))))
        return shown

    def expire(self, now: float) -> list[ShownLine]:
        """What has been held for long enough; `now` = infinity for all."""
        shown: list[ShownLine] = []
        while self._patterns:
            key, pattern = next(iter(self._patterns.items()))
            if pattern.deadline > now:
                break
            del self._patterns[key]
            shown += _held_line(pattern)
            if pattern.held and now != float("inf"):
                # It goes on repeating, probably: count on, rather than show the next one as if it were new.
                self._patterns[key] = _Pattern(now + self._window, pattern.sources)
        return shown

    def _collapses(self, batch: LogBatch, text: str, now: float) -> bool:
        if self._never_collapse is not None and self._never_collapse.search(text):
            return False
        key = (batch.name, _WORD_WITH_DIGIT.sub("#", text))
        pattern = self._patterns.get(key)
        if pattern is None:
            pattern = self._patterns[key] = _Pattern(now + self._window)
        pattern.sources.add((batch.node, batch.pid))
        if len(pattern.sources) == 1:
            return False
        pattern.held += 1
        pattern.last = (batch, text)
        return True


def _held_line(pattern: _Pattern) -> list[ShownLine]:
    return [ShownLine(*pattern.last, pattern.held)] if pattern.last is not None else []
