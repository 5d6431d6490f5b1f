"""Light actors (`isolation="shared"`): many to a process, over one pool of threads."""

import os
from typing import TYPE_CHECKING, Any

from ..cells.dispatched_cell import DispatchedCell, Dispatcher
from .envelope import Envelope
from .hosted_actor import HostedActor
from .running import Job

if TYPE_CHECKING:
    from .hub import Hub


class LightHost:
    """The light actors of one process."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self.dispatcher = Dispatcher(max(4, 2 * (os.cpu_count() or 1)), "limelight-light")

    def create(self, job: Job) -> None:
        """Make an actor: its constructor is its first message. On the wire thread."""
        LightActor(self._hub, job, self.dispatcher).deliver(job)


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
        if not self._hub.executor.claim(job):
            return
        try:
            self._hub.execution.run(job, self.construct if job is self._creation else self.method)
        finally:
            self._hub.executor.done(job)


class _LightCell(DispatchedCell):
    def __init__(self, actor: LightActor, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self._actor = actor

    def on_receive(self, message: Any) -> None:
        self._actor.handle(message)
