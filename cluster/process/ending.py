"""How a process ends: one step after the other, each for a bounded time, and its log says which one it is at.

ending = Ending(14.0, cut=True)
loop.add_signal_handler(signal.SIGTERM, ending.begin)      # from now on the process has 14 s
…
await ending.step("its connections are closed", endpoint.close(), 3.0)

What waits for good is a defect, here or in a library; it must not keep a user's `cluster stop` from coming to its end,
and whoever reads the log must see where it was.
"""

import asyncio
import faulthandler
import logging
import time
from collections.abc import Awaitable
from typing import Any

from .last_step import MARK

_TELL_S = 1.0
"""How long before the end of its time a process says what it waits for."""
_MOST_TOLD = 50

logger = logging.getLogger(__name__)


class Ending:
    """Belongs to a process's main loop; not thread-safe.

    Args:
        most: seconds that the whole may take. After them the stacks of all threads are written to stderr; this also
            happens where the loop stands still, or is closed already and a thread keeps the interpreter from ending.
        cut: the process then ends at once, with exit code 1.
    """

    def __init__(self, most: float, *, cut: bool) -> None:
        self._most = most
        self._cut = cut
        self._began = 0.0
        self._teller: asyncio.TimerHandle | None = None

    @property
    def seconds(self) -> float:
        """How long ago it began; 0 where it has not."""
        return time.monotonic() - self._began if self._began else 0.0

    def begin(self) -> None:
        """The process is to end: its time runs. On the loop. Idempotent."""
        if self._began:
            return
        self._began = time.monotonic()
        faulthandler.dump_traceback_later(self._most, exit=self._cut)
        loop = asyncio.get_running_loop()
        self._teller = loop.call_later(max(0.0, self._most - _TELL_S), self._tell)

    async def step(self, what: str, work: Awaitable[Any], most: float | None = None) -> None:
        """Do a part of the ending. What fails, or takes too long, is logged and left: the next part is done anyway.

        Args:
            what: what happens, as half a sentence.
            work: the part.
            most: seconds that it may take; None: as long as it takes.
        """
        self.begin()
        logger.info("%s%s", MARK, what)
        task = asyncio.ensure_future(work)
        await asyncio.wait({task}, timeout=most)
        if not task.done():
            logger.error("%s%s: not done within %g s, and left as it is at\n%s", MARK, what, most, _tasks())
            task.cancel()
        elif not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s%s: it failed", MARK, what, exc_info=error)

    def done(self) -> None:
        """Nothing is left to end: a process that goes on as another is not to be cut."""
        faulthandler.cancel_dump_traceback_later()
        if self._teller is not None:
            self._teller.cancel()

    def _tell(self) -> None:
        logger.error("%sfor %.0f s now, with these tasks left:\n%s", MARK, self.seconds, _tasks())


def _tasks() -> str:
    """What the loop's tasks wait for, a line each."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    lines = [f"  {task.get_name()}: {_where(task)}" for task in tasks[:_MOST_TOLD]]
    return "\n".join(sorted(lines)) + (f"\n  and {len(tasks) - _MOST_TOLD} more" if len(tasks) > _MOST_TOLD else "")


def _where(task: "asyncio.Task[Any]") -> str:
    """The functions that a task is in, the outermost first."""
    names: list[str] = []
    inner: Any = task.get_coro()
    while (frame := getattr(inner, "cr_frame", None)) is not None:
        names.append(f"{inner.cr_code.co_qualname}:{frame.f_lineno}")
        inner = inner.cr_await
    return " > ".join(names) or repr(task)
