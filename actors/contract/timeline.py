"""What ran when: for `timeline()`."""

from .body import Body


class TaskSpan(Body, frozen=True):
    """One run of a task, a method or a constructor. `start` is in seconds since the epoch; `status` the outcome's."""

    name: str
    task_id: bytes
    actor_id: bytes
    start: float
    seconds: float
    status: str


class TaskSpans(Body, frozen=True):
    """To the node manager, from a worker: what it has run since it said so last."""

    node_id: bytes
    process_id: str
    pid: int
    spans: list[TaskSpan]


class FlushTimeline(Body, frozen=True):
    """To a worker's core: send the `TaskSpans` there are, then answer."""


class CollectTimeline(Body, frozen=True):
    """To a node manager: answer with the `Timeline` of its workers. `everywhere`: and of all other nodes."""

    everywhere: bool = True


class Timeline(Body, frozen=True):
    """What a node manager knows: encoded `TaskSpans`, oldest first."""

    batches: list[bytes]
