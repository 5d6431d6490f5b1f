"""A thread for calls that may block for as long as a person likes, such as printing to a stopped terminal.

Not an executor of concurrent.futures: those refuse work once the interpreter has begun to end, which is just when
atexit handlers show the last lines. It is started at once, because an ending interpreter starts no threads either, and
it is a daemon, because a terminal that blocks must not keep the interpreter.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class PrintingThread:
    """Runs functions one after the other.

    Their errors are logged, for debugging: nobody can see what is not printed.
    """

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[[], object]) -> None:
        """Run a function when those before it are done. No effect once the thread has been closed."""
        self._work.put(function)

    async def run(self, function: Callable[[], object]) -> None:
        """Run a function and wait for its end; returns at once when the thread has been closed."""
        if not self._closed:
            await self._run_and_wait(function)

    async def close(self) -> None:
        """Wait for all that was given before, and end the thread. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._run_and_wait(_nothing)
            self._work.put(None)
            self._thread.join()

    async def _run_and_wait(self, function: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def work() -> None:
            try:
                function()
            finally:
                loop.call_soon_threadsafe(done.set)

        if self._thread.is_alive():  # it is not in a forked child
            self.submit(work)
            await done.wait()

    def _run(self) -> None:
        while (function := self._work.get()) is not None:
            try:
                function()
            except Exception as error:  # noqa: BLE001 - a closed stream or a broken pipe must not end the thread
                logger.debug("Output of workers could not be printed: %r", error)


def _nothing() -> None:
    """Waiting for this is waiting for all before it."""
