"""What this worker has run, and when: told to the node manager about once a second while there is something to tell.

So a process that is killed takes at most its last second along.
"""

import os
from collections import deque
from time import time as _now
from typing import TYPE_CHECKING, Any

from ...transport.channel import Channel
from ...transport.protocol import Call
from ..contract import NODE, CollectTimeline, Outcome, TaskSpan, TaskSpans, Timeline, decoder_of
from ..timeline_event import timeline_event
from .running import Job

if TYPE_CHECKING:
    from .hub import Hub

_DELAY_S = 1.0
_UNTOLD = 10_000
"""So many runs between two reports are remembered, the latest ones."""

_TERMINATE = "__ray_terminate__"
"""How an actor is ended is a call as well, but not one that its user made."""

UNTRACED = "untraced"
"""The option of a template whose runs are not recorded (`enable_task_events=False`)."""


class SpanRecorder:
    """Remembers runs until they are reported.

    Attributes:
        untraced: ids of actors whose methods are not recorded.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._ended: deque[TaskSpan] = deque(maxlen=_UNTOLD)
        self._append = self._ended.append
        self._due = False
        self.untraced: set[bytes] = set()

    def add(self, job: Job, outcome: Outcome) -> None:
        """A run has ended just now. From any thread, and once for every run: it must be cheap."""
        template, invocation = job.template, job.invocation
        if UNTRACED in template.options or (self.untraced and invocation.actor_id in self.untraced):
            return
        name = template.name if template.kind != "create" else f"{template.name}.__init__"
        seconds = outcome.seconds
        self._append(TaskSpan(name, invocation.task_id, invocation.actor_id, _now() - seconds, seconds, outcome.status))
        if not self._due:
            self._due = True
            self._hub.wire.post(self._plan, _DELAY_S)

    def on_flush(self, channel: Channel, call: Call) -> None:
        """The node manager asks for what there is: it comes before the answer."""
        self.flush()
        channel.reply(call.call_id, b"")

    def flush(self) -> None:
        """Report. On the wire thread."""
        self._due = False
        spans = [self._ended.popleft() for _ in range(len(self._ended))]
        if spans:
            hub = self._hub
            body = TaskSpans(hub.identity.node_id, hub.process_id, os.getpid(), spans)
            hub.links.notify(hub.node, NODE, body)

    def _plan(self, delay: float) -> None:
        self._hub.wire.loop.call_later(delay, self.flush)


def collect(hub: "Hub") -> list[dict[str, Any]]:
    """What all workers of the cluster have run, in the order of the starts.

    Raises:
        TransportError: the node manager does not answer.
    """
    answer: Timeline = decoder_of(Timeline).decode(hub.ask(hub.node, NODE, CollectTimeline()))
    batches: list[TaskSpans] = [decoder_of(TaskSpans).decode(batch) for batch in answer.batches]
    events = [_event(batch, span) for batch in batches for span in batch.spans if not span.name.endswith(_TERMINATE)]
    return sorted(events, key=lambda event: event["ts"])


def _event(batch: TaskSpans, span: TaskSpan) -> dict[str, Any]:
    return timeline_event(
        span.name,
        span.start,
        span.seconds,
        span.status,
        node=f"node {batch.node_id.hex()[:12]}",
        process=f"worker {batch.process_id[:12]} (pid {batch.pid})",
        task_id=span.task_id.hex(),
        actor_id=span.actor_id.hex(),
    )
