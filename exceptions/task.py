"""Errors of tasks and of calls to actors."""

import os
from typing import Any, Self

from .death import DeathCause
from .dual import dual_exception, reduce_task_error
from .error import RayError, describe_place
from .trace import describe_exception, format_trace


class RayTaskError(RayError):
    """A task, an actor's method or its constructor raised an exception.

    What `get` raises is also an instance of the user's exception class, with its attributes and `args`, so that
    `except UserError as e: e.code` works; see `as_instanceof_cause`. `cause` is the user's exception itself.
    Fix what the remote traceback shows, or allow retries with `retry_exceptions`.

    Attributes:
        function_name: the task's name, or "Class.method".
        traceback_str: the remote traceback with the user's frames.
        cause: the exception that was raised there.
        pid, ip, node_id: where it ran.
        actor_repr, actor_id: the actor, where it was one.
        proctitle: the process's title.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
        node_id: str | None = None,
    ) -> None:
        super().__init__(function_name, traceback_str, cause)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle
        self.pid = pid or os.getpid()
        self.ip = ip
        self.actor_repr = actor_repr
        self.actor_id = actor_id
        self.node_id = node_id

    @classmethod
    def from_exception(cls, exc: BaseException, function_name: str, **where: Any) -> Self:
        """The error for an exception that was just caught around the user's code.

        A task that failed because a task it waited for failed reports the first failure as its `cause`.

        Args:
            exc: what was caught, with its traceback.
            function_name: the task's name, or "Class.method".
            where: `proctitle`, `pid`, `ip`, `actor_repr`, `actor_id`, `node_id`.
        """
        cause = exc.cause if isinstance(exc, RayTaskError) else exc
        return cls(function_name, format_trace(exc), cause, **where)

    def as_instanceof_cause(self) -> "RayTaskError":
        """The error to raise: a new instance that is also an instance of the cause's class.

        Its attributes are the cause's, then this error's; only `cause` is always the original exception. It is a plain
        RayTaskError where both cannot be: for exceptions that control the interpreter (SystemExit, KeyboardInterrupt,
        GeneratorExit, asyncio.CancelledError), which must not end the process or task that calls `get`, for groups
        that hold such, and for classes that refuse to be derived from. Each call makes a new one, so that tracebacks
        do not pile up.
        """
        return dual_exception(self)

    make_dual_exception_instance = as_instanceof_cause

    def __str__(self) -> str:
        place = describe_place(self.node_id, self.ip, self.pid)
        actor = f" of {self.actor_repr}" if self.actor_repr else ""
        summary = describe_exception(self.cause).splitlines()[0]
        trace = self.traceback_str.rstrip()
        trace = trace.removeprefix(summary) if trace.startswith(summary) else f"\n{trace}"  # without a frame
        return f"{self.function_name}(){actor} failed in {place}: {summary}{trace}"

    def __repr__(self) -> str:
        return f"RayTaskError({self.function_name!r}, cause={self.cause!r}, pid={self.pid})"

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_task_error(self)


TaskError = RayTaskError


class TaskCancelledError(RayError):
    """The task was cancelled with `cancel()`, directly or with the task that started it.

    Attributes:
        task_id: in hexadecimal, where known.
        error_message: the whole message.
    """

    def __init__(self, task_id: Any = None, error_message: str | None = None) -> None:
        self.task_id = task_id.hex() if isinstance(task_id, bytes) else task_id
        named = f"Task {self.task_id}" if self.task_id else "This task"
        self.error_message = (
            error_message or f"{named} was cancelled: it, or the task that started it, was passed to cancel()."
        )
        super().__init__(self.error_message)


class WorkerCrashedError(RayError):
    """The process that ran the task died before the task ended.

    Raise `max_retries` where running it again is safe; `cause` says what ended the process.

    Attributes:
        cause: what was observed, or None.
        task_name: the task that was running.
        attempt: how many times it had been started, this time among them.
    """

    def __init__(
        self, message: str = "", *, cause: DeathCause | None = None, task_name: str = "", attempt: int = 1
    ) -> None:
        self.cause = cause
        self.task_name = task_name
        self.attempt = attempt
        if not message:
            told = cause.render() if cause else "its node reported no cause."
            message = f"The worker that ran {task_name or 'the task'} died: {told}"
            if attempt > 1:
                message += f"\nThis was attempt {attempt} of {attempt} (max_retries={attempt - 1})."
        super().__init__(message)


class NodeDiedError(WorkerCrashedError):
    """The node that ran the task is gone, or out of reach for good, and the task may not run again.

    Raise `max_retries` where running it again is safe: it then runs on another node. Catch it as WorkerCrashedError to
    treat the loss of a worker and that of its whole node alike.
    """


class OutOfMemoryError(RayError):
    """The memory monitor stopped the task or the actor because its node was about to run out of memory.

    Ask for the memory it needs (`memory=`), run fewer at once, or use a node with more. The message says how much it
    held, what was left of the node's memory, and which processes held the most. What an actor's callers get is also an
    ActorDiedError.

    Attributes:
        cause: what was observed of its end, where that is known.
    """

    cause: Any = None

    def __init__(self, message: str = "", *, cause: DeathCause | None = None) -> None:
        if cause is not None:
            self.cause = cause
        super().__init__(message)


class TaskUnschedulableError(RayError):
    """The task can never run as asked, for example because the node it is bound to is gone. Change its options."""


class TaskPlacementGroupRemoved(RayError):  # noqa: N818  # Ray's name
    """The placement group the task was to run in was removed. Create the group again, then submit again."""

    def __init__(self, message: str = "") -> None:
        super().__init__(
            message
            or "The placement group of this task was removed before the task ended; create it again to run the task."
        )


class RuntimeEnvSetupError(RayError):
    """The runtime environment of a task or actor could not be set up. The message says which part, and why."""

    def __init__(self, error_message: str | None = None) -> None:
        self.error_message = error_message
        super().__init__(error_message or "The runtime environment could not be set up.")


class UnserializableException(RayError):  # noqa: N818  # Ray's name
    """Stands for a remote exception that could not be pickled there, or unpickled here.

    Make its class importable here, and keep what cannot be pickled (locks, sockets) out of its attributes.
    """

    def __init__(self, original_stack_trace: str) -> None:
        self.original_stack_trace = original_stack_trace
        super().__init__(original_stack_trace)
