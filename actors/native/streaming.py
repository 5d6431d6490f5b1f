"""Generators, on the executing side: items go to the caller as they are made."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ..contract import encode
from .running import Job

if TYPE_CHECKING:
    from .hub import Hub


class Gate:
    """How many items a generator may still send before its consumer has taken some."""

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._count = count
        self._changed = threading.Condition()
        self._closed = False
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None

    def open(self, count: int) -> None:
        """Allow that many more. On the wire thread."""
        with self._changed:
            self._count += count
            self._changed.notify()
        self._wake_loop()

    def close(self) -> None:
        """There is no consumer any more. On the wire thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._wake_loop()

    def pass_one(self) -> bool:
        """Take one, waiting for it; False when there is no consumer any more."""
        with self._changed:
            while self._count <= 0 and not self._closed:
                self._changed.wait()
            self._count -= 1
            return not self._closed

    async def pass_one_async(self) -> bool:
        """Take one, waiting for it on the loop; False when there is no consumer any more."""
        while (passed := self._take()) is None:
            self._waiter = asyncio.get_running_loop().create_future()
            if self._take_is_due():  # it was opened before the waiter was there to be woken
                continue
            await self._waiter
        return passed

    def _take_is_due(self) -> bool:
        with self._changed:
            return self._count > 0 or self._closed

    def _take(self) -> bool | None:
        with self._changed:
            if self._closed:
                return False
            if self._count <= 0:
                return None
            self._count -= 1
            return True

    def _wake_loop(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the generator has ended, and its task's loop with it
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Streaming:
    """Sends the items of generators. On the threads that run them."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub

    def send(self, job: Job, items: Any) -> None:
        """Send all items of an iterable."""
        if isinstance(items, AsyncIterable):  # an asynchronous generator as a task
            asyncio.run(self.send_async(job, items))
            return
        if not isinstance(items, Iterable):
            raise TypeError(
                f"{job.template.name} has num_returns='streaming' (or 'dynamic') but returned {type(items).__name__}: "
                "make it a generator (yield), or set num_returns to the number of values it returns."
            )
        gate = self._gate(job, None)
        for index, item in enumerate(items):
            if gate is not None and not gate.pass_one():
                _close(items)
                return
            value, refs = self._hub.values.pack_result(item, job, index + 1)
            if refs:
                self._lend(job, refs).result()
            job.channel.item(job.call_id, index, encode(value))
            if refs:
                self._hub.wire.post(self._hub.borrowing.came_home, (job.channel, refs))

    async def send_async(self, job: Job, items: Any) -> None:
        """Send all items of an async generator (or of an ordinary one)."""
        if not isinstance(items, AsyncIterable):
            self.send(job, items)
            return
        gate = self._gate(job, asyncio.get_running_loop())
        index = 0
        async for item in items:
            if gate is not None and not await gate.pass_one_async():
                await _close_async(items)
                return
            value, refs = self._hub.values.pack_result(item, job, index + 1)
            if refs:
                await asyncio.wrap_future(self._lend(job, refs))
            job.channel.item(job.call_id, index, encode(value))
            if refs:
                self._hub.wire.post(self._hub.borrowing.came_home, (job.channel, refs))
            index += 1

    def opened(self, job: Job, count: int) -> None:
        """The consumer has taken items. On the wire thread."""
        if job.stream is not None:
            job.stream.open(count)

    def consumer_lost(self, job: Job) -> None:
        """The consumer's process is gone: nobody will ever open the gate again. On the wire thread."""
        if job.stream is not None:
            job.stream.close()

    def _gate(self, job: Job, loop: asyncio.AbstractEventLoop | None) -> Gate | None:
        ahead = job.template.options.get("backpressure", 0)
        if not ahead:
            return None
        job.stream = Gate(ahead, loop)
        return job.stream

    def _lend(self, job: Job, refs: list[Any]) -> "Future[None]":
        """Refs are in the next item: have their owners count the consumer."""
        known: Future[None] = Future()
        self._hub.wire.post(self._hub.borrowing.lend_item, (job.channel, refs, known))
        return known


def _close(items: Iterable[Any]) -> None:
    """Have a generator's `finally` clauses run now."""
    close = getattr(items, "close", None)
    if close is not None:
        close()


async def _close_async(items: AsyncIterable[Any]) -> None:
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
