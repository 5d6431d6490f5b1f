"""Blocking until enough objects are ready."""

import threading
from collections.abc import Iterable
from typing import Any

from .entry import FAILED, ObjectEntry


class Latch:
    """Opens when `needed` of the entries it was put on are ready, or (`fail_fast`) when one of them has failed.

    One lock is all it takes: acquired when made, released when it opens. The main thread's acquire can be
    interrupted by signals, so Ctrl-C and cancellation reach a task that waits.
    """

    __slots__ = ("_counting", "_fail_fast", "_lock", "_needed", "_open")

    def __init__(self, needed: int, fail_fast: bool) -> None:
        self._needed = needed
        self._fail_fast = fail_fast
        self._open = False
        self._counting = threading.Lock()
        self._lock = threading.Lock()
        self._lock.acquire()

    def put_on(self, entries: Iterable[ObjectEntry]) -> None:
        """Count these entries. Each one that is ready already counts at once."""
        hit = self.hit
        for entry in entries:
            if not entry.when_ready(hit):
                hit(entry)

    def take_off(self, entries: Iterable[ObjectEntry]) -> None:
        """Leave those entries alone that are not ready: else each look at them would stay with them until they are."""
        for entry in entries:
            if not entry.state:
                entry.forget_waiter(self.hit)

    def wait(self, timeout: float | None) -> bool:
        """Block until open; False when `timeout` seconds have gone before."""
        return self._lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout))

    def hit(self, entry: Any) -> None:
        """One more is ready (an entry, or something else: None)."""
        with self._counting:
            self._needed -= 1
            if self._open or (
                self._needed > 0 and not (self._fail_fast and entry is not None and entry.state == FAILED)
            ):
                return
            self._open = True
        self._lock.release()
