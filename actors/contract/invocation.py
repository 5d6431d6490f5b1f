"""Running user code: templates, invocations and their outcomes."""

from typing import Any

from .body import Body
from .object import Dependency, Value


class Template(Body, frozen=True):
    """What many calls have in common; sent once per channel, before the first call that names it.

    `anew`: the receiver may forget the templates that came through the channel before.
    """

    template_id: int
    kind: str  # "task", "method" or "create"
    name: str
    function_id: bytes
    function: bytes  # the pickled function or class; empty where the receiver has it already
    num_returns: int  # -1: streaming
    options: dict[str, Any]
    anew: bool = False


class Invocation(Body, frozen=True):
    """One run of a template: a task, an actor's construction, or a method call.

    `args` are the pickled arguments, in which `Slot(i)` stands for `dependencies[i]`; large ones lie in the store
    instead (`stored_args`).
    """

    template_id: int
    task_id: bytes
    args: bytes
    dependencies: tuple[Dependency, ...] = ()
    stored_args: Dependency | None = None
    attempt: int = 0
    actor_id: bytes = b""
    method: str = ""


class Outcome(Body, frozen=True):
    """How an invocation ended.

    `status`: "ok", "error" (the user's code raised: `returns` has one error), "cancelled", or "returned" (never
    started: given back).
    `borrows` are ids of objects owned by the caller that the worker still holds. `leaving`: the worker has run its
    function as often as `max_calls` allows, and is to be ended.
    """

    status: str
    seconds: float
    returns: tuple[Value, ...] = ()
    borrows: tuple[bytes, ...] = ()
    retryable: bool = False
    leaving: bool = False


class RecallTasks(Body, frozen=True):
    """To an executor: give back the queued tasks among these that have not started."""

    task_ids: list[bytes]


class CancelTask(Body, frozen=True):
    """To an executor (or, for what the callee submitted in turn, a core): cancel a task."""

    task_id: bytes
    force: bool
    recursive: bool
