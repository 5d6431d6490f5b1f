"""Which invocation the calling code belongs to."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...transport.channel import Channel
    from ..contract import Invocation, Template


class Job:
    """An invocation that has arrived: what to run, for whom, and where its outcome goes.

    Attributes:
        children: tasks it has submitted, for recursive cancellation.
        cancelled: its caller has asked to cancel it.
        interrupt: how to interrupt it while it runs; None while it does not.
    """

    __slots__ = ("call_id", "cancelled", "channel", "children", "credit", "interrupt", "invocation", "template")

    def __init__(self, channel: "Channel", call_id: int, invocation: "Invocation", template: "Template") -> None:
        self.channel = channel
        self.call_id = call_id
        self.invocation = invocation
        self.template = template
        self.children: list[Any] | None = None
        self.cancelled = False
        self.interrupt: Any = None
        self.credit: Any = None


running: ContextVar[Job | None] = ContextVar("limelight_running", default=None)
"""The invocation that the current thread or asyncio task runs; None in a driver's own code."""
