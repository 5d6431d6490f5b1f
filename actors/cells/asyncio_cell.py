"""A Pykka actor that runs on an asyncio loop: the cell of the system actors."""

import asyncio
import logging
from typing import Any

import pykka
from pykka import messages

from .inbox import LoopInbox

logger = logging.getLogger(__name__)


class AsyncioCell(pykka.Actor):
    """An actor whose messages are handled on an asyncio loop, one at a time, in order.

    Handlers are plain functions that must not block; what takes time is started as a task through `spawn`, which
    keeps it referenced and cancels it when the actor stops.

    An exception in a handler is logged with the message that caused it and does not end the actor: a node manager
    must outlive one bad request. (Pykka ends an actor on an unhandled exception, and every actor of the process on a
    BaseException; neither may reach its loop from here.)
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[Any]] = set()
        super().__init__()
        self.actor_inbox = LoopInbox(loop, self._drain)

    @staticmethod
    def _create_actor_inbox() -> LoopInbox:
        # Pykka makes the inbox in a static method, before the loop is known; __init__ replaces it at once.
        return _NO_INBOX

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._actor_loop_setup)

    def _drain(self) -> None:
        inbox = self.actor_inbox
        while not inbox.empty():
            envelope = inbox.get()
            message = envelope.message
            if isinstance(message, messages._ActorStop):  # noqa: SLF001
                self._cancel_tasks()
                self._stop()
                if envelope.reply_to is not None:
                    envelope.reply_to.set(None)
                return
            try:
                answer = self.on_receive(message)
            except Exception as error:
                if envelope.reply_to is not None:
                    envelope.reply_to.set_exception((type(error), error, error.__traceback__))
                else:
                    logger.exception("%s failed to handle %r", type(self).__name__, message)
            else:
                if envelope.reply_to is not None:
                    envelope.reply_to.set(answer)

    def spawn(self, coroutine: Any) -> "asyncio.Task[Any]":
        """Run a coroutine as a task of this actor; on the loop thread. Its failure is logged."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A task of %s failed", type(self).__name__, exc_info=error)

    def _cancel_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()


_NO_INBOX: Any = None
