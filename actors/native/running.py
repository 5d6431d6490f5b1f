"""Which invocation the calling code belongs to."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...transport.channel import Channel
    from ..contract import Invocation, Template


class Job:
    """An invocation that has arrived: what to run, for whom, and where its outcome goes.

    Attributes:
        children: tasks it has submitted and that may be unfinished, for recursive cancellation.
        prune_at: when `children` is this long, those that have ended are taken out.
        lent: refs in its results; held until its outcome is out.
        cancelled: its caller has asked to cancel it.
        recursive: and with it the tasks that it has submitted.
        struck: KeyboardInterrupt was raised in its code for that.
        interruptible: user code runs, and may be interrupted.
        handle: the asyncio task or thread id that runs it, where it is not the main thread.
        stream: where its items go, for generators.
    """

    __slots__ = (
        "call_id",
        "cancelled",
        "channel",
        "children",
        "handle",
        "interruptible",
        "invocation",
        "lent",
        "prune_at",
        "recursive",
        "stream",
        "struck",
        "template",
    )

    def __init__(self, channel: "Channel", call_id: int, invocation: "Invocation", template: "Template") -> None:
        self.channel = channel
        self.call_id = call_id
        self.invocation = invocation
        self.template = template
        self.children: list[Any] | None = None
        self.prune_at = 64
        self.lent: list[Any] = []
        self.cancelled = False
        self.recursive = False
        self.struck = False
        self.interruptible = False
        self.handle: Any = None
        self.stream: Any = None

    def submitted(self, entries: list[Any]) -> None:
        """It has submitted a task with these results."""
        children = self.children
        if children is None:
            children = self.children = []
        elif len(children) >= self.prune_at:  # ended ones must not keep their results alive as long as this job runs
            children[:] = [entry for entry in children if not entry.state]
            self.prune_at = max(64, 2 * len(children))
        children.extend(entries)


running: ContextVar[Job | None] = ContextVar("limelight_running", default=None)
"""The invocation that the current thread or asyncio task runs; None in a driver's own code."""


class Terminated(SystemExit):
    """SIGTERM asked the process to end."""


class ActorExit(SystemExit):
    """Unwinds a method that called `exit_actor()`."""
