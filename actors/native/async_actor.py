"""An actor with coroutine methods: an asyncio loop on the main thread."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..cells.inbox import LoopInbox
from .hosted_actor import TERMINATE, HostedActor
from .running import Job
from .wire import new_loop

if TYPE_CHECKING:
    from .hub import Hub

DEFAULT_CONCURRENCY = 1000


class AsyncActor(HostedActor):
    """Calls run as asyncio tasks, up to `max_concurrency` (by group) at once.

    Plain methods run between them on the loop.
    """

    def __init__(self, hub: "Hub", creation: Job, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(hub, creation)
        self._loop = loop or new_loop()
        self._inbox = LoopInbox(self._loop, self._drain)
        options = creation.template.options
        sizes: dict[str, int] = dict(options.get("concurrency_groups") or {})
        sizes[""] = options.get("max_concurrency") or DEFAULT_CONCURRENCY
        self._limits = {name: asyncio.Semaphore(size) for name, size in sizes.items()}
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Construct the instance on the loop and serve calls until the process ends."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._construct())
        self._hub.executor.done(self._creation)
        if self.instance is not None:
            self._loop.run_forever()

    async def _construct(self) -> None:
        await self._hub.execution.run_async(self._creation, self.construct_async)

    def construct_async(self, job: Job) -> Callable[..., Any]:
        """The "create" job's function: constructs the instance on the loop; `__init__` may be a coroutine function."""
        cls = self._hub.execution.functions.load(job.template)
        if not inspect.iscoroutinefunction(cls.__init__):
            return self.construct(job)

        async def create(*args: Any, **kwargs: Any) -> None:
            instance = cls.__new__(cls, *args, **kwargs)
            await instance.__init__(*args, **kwargs)
            self.instance = instance
            self.constructed()

        return create

    def deliver(self, job: Job) -> None:
        """Queue a call for the loop."""
        self._inbox.put(job)

    def interrupt(self, job: Job) -> None:
        """Cancel the call's asyncio task."""
        self._loop.call_soon_threadsafe(self._cancel, job)

    def leave(self) -> None:
        """End the loop; from any thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _cancel(self, job: Job) -> None:
        if job.handle is not None:
            job.handle.cancel()

    def _drain(self) -> None:
        inbox = self._inbox
        while not inbox.empty():
            job: Job = inbox.get()
            if job is self._creation:
                self._start(job, self._serve_creation(job))
                continue
            limit = self._limits.get(job.template.options.get("concurrency_group") or "")
            if limit is None:
                self._hub.execution.refuse(
                    job, ValueError(f"{self.class_name} has no such concurrency group; it has {sorted(self._limits)}.")
                )
                continue
            last = job.template.options.get("method") == TERMINATE
            self._start(job, self._run_last(job) if last else self._run(job, limit))

    def _start(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        job.handle = task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_creation(self, job: Job) -> None:
        if self._hub.executor.claim(job, self):
            try:
                await self._construct()
            finally:
                self._hub.executor.done(job)

    async def _run(self, job: Job, limit: asyncio.Semaphore) -> None:
        async with limit:
            if not self._hub.executor.claim(job, self):
                return
            try:
                await self._hub.execution.run_async(job, self.method)
            finally:
                self._hub.executor.done(job)

    async def _run_last(self, job: Job) -> None:
        """Run a call after those that are under way."""
        before = [task for task in self._tasks if task is not job.handle]
        if before:
            await asyncio.wait(before)
        await self._run(job, self._limits[""])
