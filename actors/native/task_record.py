"""What a caller keeps of one task or actor call until it has its outcome."""

from typing import Any

from ..contract import Template
from .entry import ObjectEntry


class TaskTemplate:
    """What the runs of one function (or method) with one set of options have in common, on the caller's side.

    Attributes:
        wire: as the executing process gets it, once per channel.
        class_key: the scheduling class (tasks; 0 for actor calls).
        max_retries: how many times more it may run when its worker dies, or raises what it may be retried for; -1:
        without end.
        backpressure: how many items a generator may be ahead of its consumer; 0: any number.
        kind: "list" (refs), "streaming" (a generator) or "dynamic" (one ref to a list of refs).
        alone: its runs never share a worker's queue.
    """

    __slots__ = ("alone", "backpressure", "class_key", "kind", "max_retries", "num_returns", "wire")

    def __init__(
        self,
        wire: Template,
        class_key: int,
        max_retries: int,
        kind: str = "list",
        backpressure: int = 0,
        alone: bool = False,
    ) -> None:
        self.wire = wire
        self.class_key = class_key
        self.max_retries = max_retries
        self.kind = kind
        self.backpressure = backpressure
        self.num_returns = wire.num_returns
        self.alone = alone or max_retries == 0


class TaskRecord:
    """One task, from submission to outcome, and on as lineage while one of its results may have to be made again.

    Attributes:
        args: the pickled arguments; refs at the top level are `Slot`s into `dependencies`.
        dependencies: refs to the arguments that are passed by ref.
        nested: refs inside the arguments, held until the outcome is there.
        stored_args: ref to the arguments in the store, where they are large.
        results: entries of what it returns.
        attempt: 0 for the first run.
        missing: how many dependencies are not ready yet.
        alone: it must not share a worker's queue (a worker died under it and others).
        cancelled: the caller asked to cancel it.
        ended: it does not run, and will not, unless a result of it is lost. Then `dependencies` and `nested` have
        entries in place of refs, where the lineage does not need the values (see lineage.py).
        evicted: it cannot run again, as too much is remembered.
        generator: where streamed items go; kept as long as one of them may have to be made again.
        home: the lease class or actor client it was given to.
        near: the node (id in hexadecimal) where most of its large arguments lie; "": it has none; None: not looked yet.
        held_actor: keeps the actor alive until the call has ended.
    """

    __slots__ = (
        "actor_id",
        "alone",
        "args",
        "attempt",
        "call_id",
        "cancelled",
        "dependencies",
        "ended",
        "evicted",
        "generator",
        "held_actor",
        "home",
        "lease",
        "missing",
        "near",
        "nested",
        "parent",
        "results",
        "stored_args",
        "task_id",
        "template",
    )

    def __init__(
        self,
        task_id: bytes,
        template: TaskTemplate,
        args: bytes,
        dependencies: list[Any] | None,
        nested: list[Any] | None,
    ) -> None:
        self.task_id = task_id
        self.template = template
        self.args = args
        self.dependencies = dependencies
        self.nested = nested
        self.stored_args: Any = None
        self.results: list[ObjectEntry] = []
        self.attempt = 0
        self.missing = 0
        self.call_id = 0
        self.alone = template.alone
        self.cancelled = False
        self.ended = False
        self.evicted = False
        self.generator: Any = None
        self.home: Any = None
        self.held_actor: Any = None
        self.lease: Any = None
        self.parent: bytes | None = None
        self.near: str | None = None
        self.actor_id = b""
