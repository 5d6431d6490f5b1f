"""A caller's way to a process that executes for it."""

import enum
from typing import Any

import msgspec

from ...transport.channel import Channel
from ...transport.error import BackpressureError, MessageTooLargeError
from ..contract import EXECUTOR, Invocation, Template, encode
from .task_record import TaskRecord

_PUSH_BUFFER = 16 * 1024 * 1024
"""Bytes that may wait for a process to take them before no further calls are pushed to it. Well below the channel's own
bound, which is for what cannot wait in a queue: cancellations, recalls, releases."""

_MOST_TEMPLATES = 1024
"""A process that executes is told to begin anew when it knows so many: each may be for one call only."""


class Push(enum.Enum):
    """What became of an attempt to send a call."""

    SENT = 1
    LATER = 2
    """The process has too much before it that it has not taken yet."""
    TOO_LARGE = 3
    """No channel takes such a message."""


class WorkerLink:
    """A channel to a process that executes for this one, and what it has been told already. On the wire thread."""

    __slots__ = ("channel", "functions", "node", "templates")

    def __init__(self, channel: Channel, node: Any) -> None:
        self.channel = channel
        self.node = node
        self.templates: set[int] = set()
        self.functions: set[bytes] = set()

    @property
    def full(self) -> bool:
        """Whether calls must wait until the process has taken what was sent before.

        Or until its connection is back: if that is never, because the process is dead, they have not been with it.
        """
        channel = self.channel
        return channel.error is None and (channel.queued_bytes >= _PUSH_BUFFER or not channel.connected)

    def push(self, record: TaskRecord, invocation: Invocation, on_reply: Any, on_item: Any = None) -> Push:
        """Send an invocation, and before it what the process needs to understand it. Ask `full` first."""
        channel = self.channel
        wire = record.template.wire
        try:
            if wire.template_id not in self.templates:
                anew = len(self.templates) >= _MOST_TEMPLATES
                channel.notify(EXECUTOR, "Template", encode(self._told(wire, anew)))
                if anew:
                    self.templates.clear()
                self.templates.add(wire.template_id)
                self.functions.add(wire.function_id)
            record.call_id = channel.call(EXECUTOR, "Invocation", encode(invocation), on_reply, on_item)
        except BackpressureError:  # the template filled the channel
            return Push.LATER
        except MessageTooLargeError:
            return Push.TOO_LARGE
        return Push.SENT

    def _told(self, wire: Template, anew: bool) -> Template:
        """The template without the function, where the process has that of another template."""
        function = b"" if wire.function_id in self.functions else wire.function
        return msgspec.structs.replace(wire, function=function, anew=anew)
