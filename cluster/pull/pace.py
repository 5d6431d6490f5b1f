"""How fast a node's pulls are, and whether one is slow because of its source."""

from .pull import RANGE, Pull

WINDOW = 5.0
"""Seconds that are looked at."""
SLOW = 8
"""A source is slow that brings so many times less than this node has received at its best."""
_FADE = 0.9
"""What is left of the memory of the best after each window."""


class Pace:
    """Bytes received by the node, window by window."""

    def __init__(self) -> None:
        self.best = 0.0  # bytes a second
        self._since = 0.0
        self._bytes = 0
        self._last = 0.0

    def arrived(self, pull: Pull, now: float) -> None:
        """A range has arrived."""
        self._turn(now)
        self._bytes += RANGE
        pull.arrived += RANGE

    def begin(self, pull: Pull, now: float) -> None:
        """A pull has a new source."""
        pull.arrived, pull.paced_at = 0, now

    def is_slow(self, pull: Pull, now: float) -> bool:
        """Whether a window of the pull is over in which its source was slow; begins the next window where it is over.

        It is not the source's fault where this node as a whole receives as much as ever.
        """
        if now < pull.paced_at + WINDOW:
            return False
        self._turn(now)
        rate = pull.arrived / (now - pull.paced_at)
        self.begin(pull, now)
        return max(rate, self._last) * SLOW < self.best

    def _turn(self, now: float) -> None:
        if now < self._since + WINDOW:
            return
        self._last = self._bytes / (now - self._since) if self._bytes else 0.0
        self.best = max(self.best * _FADE, self._last)
        self._since, self._bytes = now, 0
