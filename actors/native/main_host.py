"""The main thread of a worker: runs tasks, makes actors, and runs synchronous actors' methods."""

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from ..cells.main_thread_cell import MainThreadCell
from ..contract import Outcome, encode
from .async_actor import AsyncActor
from .envelope import Envelope
from .execution import exit_reason
from .hosted_actor import HostedActor, SyncActor
from .light_host import LightHost
from .running import Job
from .threaded_actor import ThreadedActor

if TYPE_CHECKING:
    from .hub import Hub

_AGAIN_S = 0.1
"""How long after a signal there is another one, as long as it has not struck."""


class MainHost(MainThreadCell):
    """The cell on a worker's main thread.

    A process starts as a host of tasks. The first "create" job makes it the home of an actor for the rest of its
    life; light actors are many to a process and leave the main thread alone.
    """

    def __init__(self, hub: "Hub") -> None:
        super().__init__()
        self._hub = hub
        self._current: Job | None = None
        self._actor: HostedActor | None = None
        self._light: LightHost | None = None
        self.exit_code: Any = 0
        hub.leave = self.leave

    # --- Host (wire thread) ---

    def deliver(self, job: Job) -> None:
        """Queue a job for the main thread (or, a light actor's creation, for the pool)."""
        if job.template.kind == "create" and job.template.options.get("light"):
            if self._light is None:
                self._light = LightHost(self._hub)
            self._light.create(job)
            return
        self.actor_inbox.put(Envelope(job))  # type: ignore[arg-type] - Pykka's loop reads .message and .reply_to only

    def interrupt(self, job: Job) -> None:
        """Raise KeyboardInterrupt in the job's code, also where it sleeps or waits."""
        if self._current is job and not job.struck:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            # It does not wake a thread that was just about to sleep: Python's handler runs after the sleep then.
            self._hub.wire.loop.call_later(_AGAIN_S, self.interrupt, job)

    def drop_light(self, actor_id: bytes) -> None:
        """End a light actor."""
        if self._light is not None:
            self._light.drop(actor_id)

    def leaves(self) -> bool:
        """A host of light actors stays: more may come."""
        return self._light is None

    def leave(self) -> None:
        """End the process once the current job is done; from any thread."""
        if isinstance(self._actor, AsyncActor):
            self._actor.leave()
        self.stop()

    # --- main thread ---

    def run(self) -> None:
        """Run jobs until the process is told to end."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        ignored = sys.unraisablehook

        def on_ignored(args: "sys.UnraisableHookArgs") -> None:
            if not self._strikes_again(args.exc_value):
                ignored(args)

        sys.unraisablehook = on_ignored
        super().run()

    def _on_interrupt(self, _signum: int, _frame: Any) -> None:
        job = self._current
        # A signal that comes late finds another job, or none: then it was not meant.
        if job is not None and job.cancelled and job.interruptible and not job.struck:
            job.struck = True
            if job.recursive:
                self._hub.wire.post(self._hub.executor.cancel_latest, job)
            raise KeyboardInterrupt

    def _strikes_again(self, error: BaseException | None) -> bool:
        """Whether it was a cancellation that struck in a finalizer, where Python ignores it; it is repeated then."""
        job = self._current
        if not isinstance(error, KeyboardInterrupt) or job is None or not job.struck:
            return False
        job.struck = False
        self._hub.wire.post(self.interrupt, job)
        return True

    def on_receive(self, message: Any) -> None:
        """Run one job."""
        job: Job = message
        if not self._hub.executor.claim(job):
            return
        self._current = job
        self._hub.announce(self._actor.label if self._actor is not None else job.template.name)
        try:
            match job.template.kind:
                case "task":
                    self._hub.execution.run(job, self._function)
                case "create":
                    self._create(job)
                case _ if self._actor is not None:
                    self._hub.execution.run(job, self._actor.method)
                case kind:
                    raise ValueError(f"A job of kind {kind!r} came to a process that hosts no actor.")
        except SystemExit as exit_:
            self.exit_code = exit_.code
            self._hub.finish_lines()
            self._hub.wire.post(self._hub.process_exits, exit_reason(job, exit_))
            self.stop()
        except KeyboardInterrupt:  # a cancellation that hit between the user's code and the answer
            job.channel.reply(job.call_id, encode(Outcome("cancelled", 0.0)))
        finally:
            self._current = None
            self._hub.executor.done(job)

    def _create(self, job: Job) -> None:
        options = job.template.options
        if options.get("async"):
            self._actor = AsyncActor(self._hub, job)
        elif options.get("max_concurrency", 1) > 1 or options.get("concurrency_groups"):
            self._actor = ThreadedActor(self._hub, job)
        else:
            self._actor = SyncActor(self._hub, job, self)
        self._actor.run()

    def _function(self, job: Job) -> Any:
        return self._hub.execution.functions.load(job.template)
