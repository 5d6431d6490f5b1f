"""Generators, on the executing side: items go to the caller as they are made."""

import asyncio
import threading
from collections.abc import AsyncIterable, Iterable
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
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None

    def open(self, count: int) -> None:
        """Allow that many more. On the wire thread."""
        with self._changed:
            self._count += count
            self._changed.notify()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def pass_one(self) -> None:
        """Take one, waiting for it."""
        with self._changed:
            while self._count <= 0:
                self._changed.wait()
            self._count -= 1

    async def pass_one_async(self) -> None:
        """Take one, waiting for it on the loop."""
        while not self._take():
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _take(self) -> bool:
        with self._changed:
            if self._count <= 0:
                return False
            self._count -= 1
            return True

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
                f"{job.template.name} has num_returns='streaming' (or 'dynamic') but returned a {type(items).__name__}: "
                "make it a generator (yield), or set num_returns to the number of values it returns."
            )
        gate = self._gate(job, None)
        for index, item in enumerate(items):
            if gate is not None:
                gate.pass_one()
            self._send_one(job, index, item)

    async def send_async(self, job: Job, items: Any) -> None:
        """Send all items of an async generator (or of an ordinary one)."""
        if not isinstance(items, AsyncIterable):
            self.send(job, items)
            return
        gate = self._gate(job, asyncio.get_running_loop())
        index = 0
        async for item in items:
            if gate is not None:
                await gate.pass_one_async()
            self._send_one(job, index, item)
            index += 1

    def opened(self, job: Job, count: int) -> None:
        """The consumer has taken items. On the wire thread."""
        if job.stream is not None:
            job.stream.open(count)

    def _gate(self, job: Job, loop: asyncio.AbstractEventLoop | None) -> Gate | None:
        ahead = job.template.options.get("backpressure", 0)
        if not ahead:
            return None
        job.stream = Gate(ahead, loop)
        return job.stream

    def _send_one(self, job: Job, index: int, item: Any) -> None:
        value = self._hub.values.pack_result(item, job.invocation.task_id, index + 1, job.channel.peer)
        job.channel.item(job.call_id, index, encode(value))
