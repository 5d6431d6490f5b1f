"""The wire thread: the daemon thread whose loop does all of a process's networking."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from ..cells.inbox import LoopInbox


def import_loop() -> Any:
    """The module that makes loops: uvloop where there is uvloop, else asyncio. Importing it makes none."""
    try:
        import uvloop
    except ImportError:  # not on this platform
        return asyncio
    return uvloop


def new_loop() -> asyncio.AbstractEventLoop:
    """A new event loop."""
    return import_loop().new_event_loop()


class WireThread:
    """A loop on a daemon thread, and the way onto it.

    The runtime's state belongs to this thread: others hand it work with `post`, which keeps order and costs one
    wake-up per burst. So the state needs no locks.
    """

    def __init__(self) -> None:
        self.loop = new_loop()
        self._inbox = LoopInbox(self.loop, self._drain)
        self._thread = threading.Thread(target=self._run, name="limelight-wire", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def post(self, function: Callable[[Any], object], argument: Any) -> None:
        """Run `function(argument)` on the loop, after everything posted before it. From any thread."""
        self._inbox.put((function, argument))

    def disable(self) -> None:
        """Take nothing any more, in a forked child: there is no thread, and the way to wake it is the parent's."""
        self._inbox.close()

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout: float | None = None, abandon: bool = False) -> Any:
        """Run a coroutine on the loop and wait for its result. From any thread but the wire thread.

        `abandon`: cancel it if this thread is interrupted, or the time is up.
        """
        future = self.submit(coroutine)
        try:
            return future.result(timeout)
        finally:
            if abandon:
                future.cancel()  # nothing, where it is done

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> "Future[Any]":
        """Run a coroutine on the loop. From any thread but the wire thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def stop(self) -> None:
        """End the loop and the thread. Everything on it must have been closed before."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
        if not self.loop.is_closed():
            self.loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _drain(self) -> None:
        inbox = self._inbox
        while not inbox.empty():
            function, argument = inbox.get()
            try:
                function(argument)
            except Exception as error:  # noqa: BLE001 - one bad message must not lose those behind it
                self.loop.call_exception_handler(
                    {"message": f"{getattr(function, '__qualname__', function)} failed", "exception": error}
                )
