"""What ran in local mode, and when."""

import os
import time
from collections import deque
from typing import Any

from ..timeline_event import timeline_event
from .call import Call

_KEPT = 100_000


class LocalTimeline:
    """The latest runs."""

    def __init__(self) -> None:
        self._events: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def add(self, call: Call) -> None:
        """A call has its outcome; nothing is noted of one that was cancelled before it ran."""
        if call.started is None or not call.traced:
            return
        frame = call.frame
        event = timeline_event(
            call.outputs.name,
            call.started,
            time.time() - call.started,
            "error" if call.failed else "ok",
            node=f"node {frame.node_id.hex()[:12]}",
            process=f"local mode (pid {os.getpid()})",
            task_id=(frame.task_id or b"").hex(),
            actor_id=(frame.actor_id or b"").hex(),
        )
        self._events.append(event)

    def events(self) -> list[dict[str, Any]]:
        """All there are, in the order of their starts."""
        return sorted(self._events, key=lambda event: event["ts"])
