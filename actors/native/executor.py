"""The executing side of calls: what arrives on channels is queued, taken back, cancelled or delivered.

On the wire thread.
"""

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ...transport.channel import Channel
from ...transport.protocol import Call
from ..contract import CancelTask, DropActor, EndActor, Invocation, Outcome, RecallTasks, Template, decoder_of, encode
from .hosted_actor import TERMINATE
from .running import Job

if TYPE_CHECKING:
    from .hub import Hub


class Host(Protocol):
    """Runs jobs: the main thread for tasks, or an actor by its kind."""

    def deliver(self, job: Job) -> None:
        """Take a job; on the wire thread, in the order of arrival."""
        ...

    def interrupt(self, job: Job) -> None:
        """Interrupt a job that is running; no effect when it no longer is. On the wire thread."""
        ...


class ActorHost(Host, Protocol):
    """Runs one actor's jobs."""

    def drop(self) -> None:
        """The actor has ended. From any thread."""
        ...


class TaskHost(Host, Protocol):
    """Runs tasks, and makes actors."""

    def drop_light(self, actor_id: bytes) -> None:
        """End a light actor, also one whose constructor still runs; no effect where there is none.

        On the wire thread.
        """
        ...

    def leaves(self) -> bool:
        """Whether the process is of no use without an actor."""
        ...


class Executor:
    """Jobs of this process by task id, from arrival until they start.

    A queued job is claimed by whoever pops it from `queued`: the thread that runs it, or a recall, or a cancellation.
    A dict's pop is atomic, so exactly one of them gets it.
    """

    def __init__(self, hub: "Hub", tasks: TaskHost) -> None:
        self._hub = hub
        self._tasks = tasks
        self._actors: dict[bytes, ActorHost] = {}
        self._templates: dict[Channel, dict[int, Template]] = {}
        self._functions: dict[bytes, bytes] = {}
        self.queued: dict[bytes, Job] = {}
        self.started: dict[bytes, Job] = {}
        self._methods: dict[str, Callable[[Channel, Call], None]] = {
            "Template": self._on_template,
            "Invocation": self._on_invocation,
            "RecallTasks": self._on_recall,
            "CancelTask": self._on_cancel,
            "EndActor": self._on_end_actor,
            "DropActor": self._on_drop_actor,
        }

    def on_call(self, channel: Channel, call: Call) -> None:
        """A call to this process's executor."""
        self._methods[call.method](channel, call)

    def on_lost(self, channel: Channel) -> None:
        """A caller is gone: its tasks are not wanted any more. Calls to actors run nevertheless: they have effects."""
        self._templates.pop(channel, None)
        for job in list(self.queued.values()):
            if job.channel is channel and not job.invocation.actor_id:
                self.queued.pop(job.invocation.task_id, None)
        for job in list(self.started.values()):
            if job.channel is channel:
                self._hub.streaming.consumer_lost(job)
                if not job.invocation.actor_id:
                    self._interrupt(job, force=False)

    def host_actor(self, actor_id: bytes, host: ActorHost) -> None:
        """From now on, jobs for that actor go to that host."""
        self._actors[actor_id] = host

    def drop_actor(self, actor_id: bytes) -> None:
        """The actor has ended; its host takes no more jobs."""
        host = self._actors.pop(actor_id, None)
        if host is not None:
            host.drop()

    def actor_left(self, actor_id: bytes, reason: str) -> None:
        """An actor has ended itself: so does the process, unless it hosts others. On the wire thread."""
        self._tasks.drop_light(actor_id)
        if not self._actors and self._tasks.leaves():
            self._hub.process_exits(reason)
            self._hub.leave()

    def claim(self, job: Job, actor: ActorHost | None = None) -> bool:
        """Start a queued job; False when it was recalled or cancelled meanwhile. On the thread that will run it.

        Args:
            job: the job.
            actor: who is to run it, where an actor may be ended while its process lives on.
        """
        task_id = job.invocation.task_id
        # A task that was recalled may have been sent here again: then this is its earlier job, which nobody awaits.
        if self.queued.get(task_id) is not job:
            return False
        # It is in both for a moment, never in neither: an order to cancel it would think that it has ended.
        self.started[task_id] = job
        found = self.queued.pop(task_id, None)
        if found is not job:
            self.started.pop(task_id, None)
            if found is not None:
                self.queued[task_id] = found
            return False
        living = self._actors.get(job.invocation.actor_id)
        if job.template.kind == "method" and (living is None or actor not in {None, living}):  # ended while it waited
            self.started.pop(task_id, None)
            job.channel.reply(job.call_id, encode(self._hub.actors.no_such_actor(job)))
            return False
        return True

    def done(self, job: Job) -> None:
        """A started job has ended."""
        self.started.pop(job.invocation.task_id, None)

    def _on_template(self, channel: Channel, call: Call) -> None:
        template: Template = decoder_of(Template).decode(call.body)
        function = self._functions.get(template.function_id, b"")
        if function:  # one copy of it for all templates
            template = msgspec.structs.replace(template, function=function)
        elif template.function:
            self._functions[template.function_id] = template.function
        known = self._templates.setdefault(channel, {})
        if template.anew:
            known.clear()
        known[template.template_id] = template

    def _on_invocation(self, channel: Channel, call: Call) -> None:
        invocation: Invocation = _invocation_decoder.decode(call.body)
        template = self._templates[channel][invocation.template_id]
        if template.kind == "create":  # of one actor only, and sent again before each of its lives
            del self._templates[channel][invocation.template_id]
        job = Job(channel, call.call_id, invocation, template)
        self.queued[invocation.task_id] = job
        host = self._actors.get(invocation.actor_id) if template.kind == "method" else self._tasks
        if host is None:
            self.queued.pop(invocation.task_id, None)
            channel.reply(call.call_id, encode(self._hub.actors.no_such_actor(job)))
            return
        if self.started and (invocation.dependencies or invocation.stored_args is not None):
            self._hub.prefetch.arrived(invocation)
        host.deliver(job)

    def _on_recall(self, channel: Channel, call: Call) -> None:
        recall: RecallTasks = decoder_of(RecallTasks).decode(call.body)
        for task_id in recall.task_ids:
            job = self.queued.pop(task_id, None)
            if job is not None:
                channel.reply(job.call_id, _RETURNED)
        channel.reply(call.call_id, b"")

    def _on_cancel(self, channel: Channel, call: Call) -> None:
        order: CancelTask = decoder_of(CancelTask).decode(call.body)
        job = self.queued.pop(order.task_id, None)
        if job is not None:
            channel.reply(job.call_id, _CANCELLED)
            return
        job = self.started.get(order.task_id)
        if job is None:
            return  # it has ended; its outcome is on the way
        if order.recursive and job.children:
            for entry in list(job.children):
                self._hub.submission.cancel((entry, order.force, True))
        job.recursive = order.recursive
        job.struck = False
        self._interrupt(job, order.force)

    def cancel_latest(self, job: Job) -> None:
        """Cancel what a job has submitted after the order to cancel it and before that struck. On the wire thread."""
        for entry in list(job.children or ()):
            if entry.producer is not None and not entry.producer.cancelled:
                self._hub.submission.cancel((entry, False, True))

    def hosted(self, actor_id: bytes) -> Any:
        """An actor of this process; None where it is not here."""
        return self._actors.get(actor_id)

    def _on_end_actor(self, channel: Channel, call: Call) -> None:
        """Queue the end behind the calls that are there: it is a call itself."""
        order: EndActor = decoder_of(EndActor).decode(call.body)
        host = self._actors.get(order.actor_id)
        if host is None:
            return
        template = Template(0, "method", TERMINATE, b"", b"", 1, {"method": TERMINATE})
        invocation = Invocation(0, self._hub.ids.task_id(), b"", actor_id=order.actor_id)
        job = Job(channel, 0, invocation, template)
        self.queued[invocation.task_id] = job
        host.deliver(job)

    def _on_drop_actor(self, _: Channel, call: Call) -> None:
        order: DropActor = decoder_of(DropActor).decode(call.body)
        self.drop_actor(order.actor_id)
        self._tasks.drop_light(order.actor_id)

    def _interrupt(self, job: Job, force: bool) -> None:
        job.cancelled = True
        if force and not job.invocation.actor_id:
            # Nothing softer is sure to stop user code; the caller knows that it asked for this.
            os.kill(os.getpid(), signal.SIGKILL)
        host = self._actors.get(job.invocation.actor_id, self._tasks)
        host.interrupt(job)


_invocation_decoder = decoder_of(Invocation)
_RETURNED = encode(Outcome("returned", 0.0))
_CANCELLED = encode(Outcome("cancelled", 0.0))
