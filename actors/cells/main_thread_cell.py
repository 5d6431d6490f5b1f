"""A Pykka actor that runs on the process's main thread."""

import queue
from typing import Any

import pykka


class MainThreadCell(pykka.Actor):
    """An actor whose messages are handled by the thread that calls `run`, one at a time, in order.

    User code belongs on the main thread: signal handlers, GUIs, and libraries that insist on it work there.
    Subclasses must not let exceptions out of `on_receive`: Pykka would end the actor.
    """

    @staticmethod
    def _create_actor_inbox() -> Any:
        return queue.SimpleQueue()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        """The loop starts when the main thread comes to `run`."""

    def run(self) -> None:
        """Handle messages until the actor is stopped."""
        self._actor_loop()
