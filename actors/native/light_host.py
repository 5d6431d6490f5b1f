"""Light actors (`isolation="shared"`): many to a process, on one pool of threads, or on one asyncio loop."""

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

from ..cells.dispatched_cell import DispatchedCell, Dispatcher
from .async_actor import AsyncActor
from .envelope import Envelope
from .hosted_actor import HostedActor
from .running import Job
from .wire import new_loop

if TYPE_CHECKING:
    from .hub import Hub


class LightHost:
    """The light actors of one process. On the wire thread."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._dispatcher = Dispatcher(max(4, 2 * (os.cpu_count() or 1)), "limelight-light")
        self._actors: dict[bytes, LightActor | LightAsyncActor] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        hub.waiting.giving_way = self._dispatcher.blocking

    def create(self, job: Job) -> None:
        """Make an actor: its constructor is its first message."""
        made: LightActor | LightAsyncActor
        if job.template.options.get("async"):
            made = LightAsyncActor(self._hub, job, self._running_loop())
        else:
            made = LightActor(self._hub, job, self._dispatcher)
        self._actors[made.actor_id] = made
        made.deliver(job)

    def drop(self, actor_id: bytes) -> None:
        """The actor has ended, or must."""
        actor = self._actors.pop(actor_id, None)
        if actor is not None:
            actor.drop()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = loop = new_loop()
            threading.Thread(target=_serve, args=(loop,), name="limelight-light-loop", daemon=True).start()
        return self._loop


class LightActor(HostedActor):
    """One call at a time, on whichever thread of the pool is free."""

    def __init__(self, hub: "Hub", creation: Job, dispatcher: Dispatcher) -> None:
        super().__init__(hub, creation)
        self._cell = _LightCell(self, dispatcher)

    def run(self) -> None:
        """The pool runs it; nobody needs to give it a thread."""

    def deliver(self, job: Job) -> None:
        """Queue a call."""
        self._cell.actor_inbox.put(Envelope(job))  # type: ignore[arg-type] - it has what an inbox needs of an envelope

    def interrupt(self, job: Job) -> None:
        """A thread cannot be interrupted safely: the call runs to its end."""

    def handle(self, job: Job) -> None:
        """Run one job, the constructor or a method; on a thread of the pool."""
        if not self._hub.executor.claim(job, self):
            return
        try:
            self._hub.execution.run(job, self.construct if job is self._creation else self.method)
        finally:
            self._hub.executor.done(job)


class LightAsyncActor(AsyncActor):
    """Calls run as asyncio tasks on the loop that all light actors of the process share."""

    def run(self) -> None:
        """The loop runs it; nobody needs to give it a thread."""

    def drop(self) -> None:
        """Cancel what still runs: its callers have been, or will be, told that the actor is dead."""
        super().drop()
        self._loop.call_soon_threadsafe(self._cancel_all)

    def leave(self) -> None:
        """The loop is the others' too."""

    def _cancel_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()


class _LightCell(DispatchedCell):
    def __init__(self, actor: LightActor, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self._actor = actor

    def on_receive(self, message: Any) -> None:
        self._actor.handle(message)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
