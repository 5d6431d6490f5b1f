"""The one event loop of local mode's async actors: runs on whichever thread waits for something."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

_TURNS_AT_ONCE = 1000
"""A coroutine that spins on `sleep(0)` must not keep `.remote()` from returning."""


def _nothing() -> None:
    """Wakes the loop."""


class LocalLoop(asyncio.SelectorEventLoop):
    """An event loop that is driven in turns, by any thread, one at a time, also from within its own callbacks.

    The last is what a blocking `get` in a coroutine needs here: the result it waits for may be another coroutine's on
    the same loop. (In a cluster these are different processes.)
    """

    def __init__(self) -> None:
        super().__init__()
        self._until: Callable[[], bool] = bool
        self._woken = False
        self._driver: int | None = None
        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a coroutine, from any thread; it runs when the loop is driven."""

        def start() -> None:
            task = self.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self.call_soon_threadsafe(start)

    def tell(self, callback: Callable[[], object]) -> None:
        """Run a callback on the loop, from any thread."""
        self.call_soon_threadsafe(callback)

    def notify(self) -> None:
        """Something that a driver may wait for has changed."""
        with self._changed:
            self._changed.notify_all()
            if self._driver is not None and self._driver != threading.get_ident():
                self.call_soon_threadsafe(_nothing)

    def drain(self) -> None:
        """Run what is ready to run, without waiting for timers and sockets. No effect while the loop is driven."""
        if not (self._woken or self._tasks) or not self._claim():
            return
        turns = 0

        def settled() -> bool:
            nonlocal turns
            turns += 1
            idle, self._woken = not self._woken, False
            if not idle and turns < _TURNS_AT_ONCE:
                super(LocalLoop, self).call_soon(_nothing)  # so that the next turn does not wait either
                return False
            return True

        self._woken = True
        self._run(settled)

    def drive(self, done: Callable[[], bool], timeout: float | None = None, *, alone: bool = False) -> bool:
        """Run until `done()`, which is asked after each turn, or for `timeout` seconds; returns the last `done()`.

        While another thread drives the loop, waits for what that brings about. Where no other thread will do anything
        (`alone`), gives up when there is nothing left to run or to wait for.
        """
        deadline = None if timeout is None else time.monotonic() + timeout

        def stop() -> bool:
            return done() or (deadline is not None and time.monotonic() >= deadline) or (alone and self._stuck())

        while not stop():
            if self._driver == threading.get_ident():
                self._drive_inside(stop, deadline)
            elif self._claim():
                self._run(stop, deadline)
            else:
                with self._changed:
                    if self._driver is not None and not stop():
                        self._changed.wait(None if deadline is None else max(0, deadline - time.monotonic()))
        return done()

    def end(self) -> None:
        """Cancel all coroutines, let them clean up, and close the loop."""
        if self._claim():
            for task in self._tasks:
                task.cancel()
            self._run(lambda: not self._tasks)
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()

    def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        """As asyncio's; notes that there is more to do."""
        self._woken = True
        return super().call_soon(*args, **kwargs)

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        """As asyncio's; notes that there is more to do."""
        self._woken = True
        return super().call_soon_threadsafe(*args, **kwargs)

    def _stuck(self) -> bool:
        """Nothing is ready, and there is no timer, socket or executor that could make anything so."""
        inside = vars(self)  # asyncio's own names, which typeshed leaves out
        if inside["_ready"] or inside["_scheduled"] or inside["_default_executor"]:
            return False
        return len(inside["_selector"].get_map()) == 1  # the loop's own, for `call_soon_threadsafe`

    def _claim(self) -> bool:
        with self._changed:
            if self._driver is not None:
                return False
            self._driver = threading.get_ident()
            return True

    def _run(self, until: Callable[[], bool], deadline: float | None = None) -> None:
        """Run turns until `until()`, at least one. The caller's own loop, if it runs one, is out of sight meanwhile."""
        outer = asyncio._get_running_loop()  # noqa: SLF001 - asyncio documents it, for loops
        asyncio._set_running_loop(None)  # noqa: SLF001 - asyncio documents it, for loops
        self._until = until
        super().call_soon(_nothing)  # what `until` asks about may be so already, with nothing left to wake the loop
        wake = self._wake_at(deadline)
        try:
            self.run_forever()
        finally:
            wake.cancel()
            asyncio._set_running_loop(outer)  # noqa: SLF001 - asyncio documents it, for loops
            with self._changed:
                self._driver = None
                self._changed.notify_all()

    def _run_once(self) -> None:
        super()._run_once()  # pyright: ignore[reportAttributeAccessIssue] - asyncio's own, which typeshed leaves out
        if self._until():
            self.stop()

    def _drive_inside(self, stop: Callable[[], bool], deadline: float | None) -> None:
        """Run turns from within a turn: the coroutine that waits steps aside meanwhile."""
        outer, self._until = self._until, bool
        task = asyncio.current_task(self)
        if task is not None:
            asyncio.tasks._leave_task(self, task)  # noqa: SLF001 - asyncio documents it, for loops
        wake = self._wake_at(deadline)
        try:
            while not stop():
                self._run_once()
        finally:
            wake.cancel()
            self._until = outer
            if task is not None:
                asyncio.tasks._enter_task(self, task)  # noqa: SLF001 - asyncio documents it, for loops

    def _wake_at(self, deadline: float | None) -> asyncio.Handle:
        if deadline is None:
            return super().call_soon(_nothing)
        return self.call_later(max(0, deadline - time.monotonic()), _nothing)
