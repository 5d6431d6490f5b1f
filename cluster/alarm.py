"""Wakes a state machine when it wants to be woken."""

import asyncio
from collections.abc import Callable


class Alarm:
    """A timer that follows a machine's `wake_at`. Call `set` after every event the machine has handled."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wake_at: Callable[[], float | None], tick: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._wake_at = wake_at
        self._tick = tick
        self._when = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def set(self) -> None:
        """Look at when the machine wants to be woken, and see to it."""
        when = self._wake_at()
        if when is None or (self._timer is not None and self._when <= when + 0.0005):
            return  # a timer that is too early costs one tick; re-arming for every event costs more
        self.cancel()
        self._when = when
        self._timer = self._loop.call_at(when, self._ring)

    def cancel(self) -> None:
        """Wake nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self._tick()
