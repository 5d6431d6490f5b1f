"""Who has not shown yet that it may come in: few at a time, and not for long.

Whoever comes when all places are taken gets the place of the one that waits longest. So a flood of connections that
say nothing does not keep out those that do what is expected, which takes them a moment.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .seldom import Seldom

_crowds = Seldom(logging.getLogger(__name__))

Guest = TypeVar("Guest", bound=Hashable)


class Anteroom(Generic[Guest]):
    """On the running loop.

    Args:
        most: how many may wait.
        seconds: how long each may.
        expel: called with whom is to go. It is then no guest any more.
    """

    def __init__(self, most: int, seconds: float, expel: Callable[[Guest], None]) -> None:
        self._most = most
        self._seconds = seconds
        self._expel = expel
        self._loop = asyncio.get_running_loop()
        self._guests: dict[Guest, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._guests)

    def enter(self, guest: Guest) -> None:
        """It waits from now on."""
        if len(self._guests) >= self._most:
            self._out(next(iter(self._guests)))
            _crowds.warn("%d connections wait to authenticate; the one that waited longest was dropped", self._most)
        self._guests[guest] = self._loop.call_later(self._seconds, self._out, guest)

    def leave(self, guest: Guest) -> None:
        """It has come in, or gone. Idempotent."""
        timer = self._guests.pop(guest, None)
        if timer is not None:
            timer.cancel()

    def clear(self) -> list[Guest]:
        """Forget all of them, without expelling anybody; returns them."""
        guests = list(self._guests)
        for guest in guests:
            self.leave(guest)
        return guests

    def _out(self, guest: Guest) -> None:
        self.leave(guest)
        self._expel(guest)
