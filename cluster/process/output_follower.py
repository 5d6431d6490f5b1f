"""Follows a growing log file and hands its lines on, at the pace of whoever takes them."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from .log_batch import LineReader, LogBatch, LogOrigin

_PORTION = 1 << 17
PARTIAL_LINE_SECONDS = 1.0
"""Text without an end of line, such as a progress bar, is shown when nothing has come for, or it is, so long."""

logger = logging.getLogger(__name__)

LogSink = Callable[[LogBatch], Awaitable[None]]
"""Takes a batch of lines; the next comes when it returns. If it raises, the error is logged and the batch not shown."""


class OutputFollower:
    """Hands on the lines of one file. Holds one portion of it at a time, however far behind it is.

    Args:
        stream: "stdout" or "stderr".
        origin: whose output it is; may be replaced for what is handed on from then on.
        sink: takes the lines, one batch after the other.
    """

    def __init__(self, stream: str, origin: LogOrigin, sink: LogSink) -> None:
        self.origin = origin
        self._stream = stream
        self._sink = sink
        self._file = -1
        self._size = 0
        self._position = 0
        self._lines = LineReader()
        self._changed = asyncio.Event()
        self._finished = False
        self._impatient = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def grown(self, file: int, size: int) -> None:
        """The file has that size now. The descriptor must stay open until `finish` has returned."""
        self._file, self._size = file, size
        self._idle.clear()
        self._changed.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())

    async def finish(self) -> None:
        """The file will not grow any more: returns when all of it has been handed on."""
        self._finished = True
        self._changed.set()
        if self._task is not None:
            await self._task

    async def caught_up(self) -> None:
        """Wait until everything there is at some moment has been handed on, an incomplete line among it."""
        await self._idle.wait()
        if self._lines.has_partial:
            self._impatient = True
            self._idle.clear()
            self._changed.set()
            await self._idle.wait()

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            if self._position < self._size:
                portion = os.pread(self._file, min(_PORTION, self._size - self._position), self._position)
                self._position += len(portion)
                await self._hand_on(self._lines.feed(portion))
            elif self._finished:
                await self._hand_on(self._lines.take_partial())
                self._idle.set()
                return
            elif self._impatient:
                self._impatient = False
                await self._hand_on(self._lines.take_partial())
            elif not await self._more_comes():
                await self._hand_on(self._lines.take_partial())

    async def _more_comes(self) -> bool:
        """Wait for the file to grow; false when a partial line has waited long enough."""
        self._idle.set()
        try:
            async with asyncio.timeout(PARTIAL_LINE_SECONDS if self._lines.has_partial else None):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _hand_on(self, named_lines: list[tuple[str, list[str]]]) -> None:
        for name, lines in named_lines:
            origin = self.origin
            batch = LogBatch(origin.job_id, name or origin.name, origin.pid, origin.node, self._stream, lines)
            try:
                await self._sink(batch)
            except Exception:
                logger.exception("%d lines of %s (pid %d) were not shown.", len(lines), batch.name, batch.pid)
