"""Lines in the log that strangers can cause: one now and then, so that nobody can fill a disk with them."""

import logging
import time

_QUIET_S = 10.0


class Seldom:
    """At most one line in ten seconds, which says how many were left out before it. On one thread."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._next = 0.0
        self._left_out = 0

    def warn(self, message: str, *arguments: object) -> None:
        """Log it at level WARNING, or count it."""
        now = time.monotonic()
        if now < self._next:
            self._left_out += 1
            return
        self._next = now + _QUIET_S
        more = f" ({self._left_out} more of this kind since the last line)" if self._left_out else ""
        self._left_out = 0
        self._logger.warning("%s%s", message % arguments, more)
