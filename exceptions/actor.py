"""Errors of actors."""

from typing import Any, Self

from .death import DeathCause, DeathKind
from .error import RayError
from .task import OutOfMemoryError, RayTaskError

_DIED = "The actor died before this call ended."


class RayActorError(RayError):
    """A call to an actor failed because of the actor, not of the method.

    Attributes:
        actor_id: in hexadecimal, where known.
        error_msg: the whole message.
        actor_init_failed: the actor's constructor raised.
        preempted: its node was taken away on notice.
    """

    def __init__(
        self, actor_id: Any = None, error_msg: str = _DIED, actor_init_failed: bool = False, preempted: bool = False
    ) -> None:
        self.actor_id = actor_id.hex() if isinstance(actor_id, bytes) else actor_id
        self.error_msg = error_msg
        self.actor_init_failed = actor_init_failed
        self.preempted = preempted
        super().__init__(error_msg)


class ActorDiedError(RayActorError):
    """The actor is dead and will not come back: this call, and every later one, fails.

    Create it anew, or let it restart (`max_restarts`) and have its calls retried (`max_task_retries`). Of an actor that
    ended for lack of memory this makes an ActorOutOfMemoryError, as OSError makes a FileNotFoundError.

    Attributes:
        cause: what was observed of its death (`DeathCause`), or its constructor's failure (`RayTaskError`), or None.
        actor_name: its name, or its class's.
    """

    def __new__(  # noqa: PYI034 - it is of the class that fits the cause
        cls,
        cause: RayTaskError | DeathCause | None = None,
        *,
        actor_id: Any = None,  # noqa: ARG004 - the constructor's
        actor_name: str = "",  # noqa: ARG004
        method: str = "",  # noqa: ARG004
    ) -> "ActorDiedError":
        """An error of the class that fits the cause."""
        fitting: Any = cls
        if cls is ActorDiedError and isinstance(cause, DeathCause) and cause.kind is DeathKind.OUT_OF_MEMORY:
            fitting = ActorOutOfMemoryError
        return super().__new__(fitting)

    def __init__(
        self,
        cause: RayTaskError | DeathCause | None = None,
        *,
        actor_id: Any = None,
        actor_name: str = "",
        method: str = "",
    ) -> None:
        self.cause = cause
        self.actor_name = actor_name
        self.method = method
        shown = actor_id.hex() if isinstance(actor_id, bytes) else actor_id
        who = f"Actor {actor_name}" if actor_name else "The actor"
        who += f" ({shown[:12]})" if shown else ""
        init_failed = isinstance(cause, RayTaskError) or (cause is not None and cause.kind is DeathKind.INIT_FAILED)
        call = f" before {method}() ended" if method else ""
        if isinstance(cause, RayTaskError):
            message = f"{who} never came to life, because its constructor failed: {cause}"
        elif cause is not None:
            message = f"{who} died{call}: {cause.render()}"
        else:
            message = f"{who} died{call}; its node reported no cause."
        super().__init__(shown, message, actor_init_failed=init_failed)

    @classmethod
    def from_task_error(cls, task_error: RayTaskError) -> "ActorDiedError":
        """The error of an actor whose constructor raised."""
        return cls(
            task_error, actor_id=task_error.actor_id, actor_name=task_error.function_name.split(".", maxsplit=1)[0]
        )


class ActorOutOfMemoryError(ActorDiedError, OutOfMemoryError):
    """The actor died because its node was about to run out of memory. Catch it as either of its bases."""


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached for now: it restarts, or its network is down. The call may or may not have run.

    Call again later, or set `max_task_retries` where running a call twice is safe.
    """

    def __init__(self, error_message: str = "", actor_id: Any = None) -> None:
        super().__init__(
            actor_id, error_message or "The actor cannot be reached for now. The call may or may not have run."
        )


class ActorUnschedulableError(RayError):
    """The actor can never be placed as asked, for example as the node it is bound to is gone. Change its options."""


class ActorPlacementGroupRemoved(ActorDiedError):  # noqa: N818  # Ray's name
    """The placement group of the actor was removed, and the actor ended with it. Create both again.

    Ray says ActorDiedError where the actor was alive, so what is written for that catches this, too.
    """

    def __new__(cls, message: str = "") -> Self:  # noqa: ARG004 - the constructor's
        """Of this class, whatever the cause."""
        return RayActorError.__new__(cls)

    def __init__(self, message: str = "") -> None:
        super().__init__()
        self.error_msg = (
            message or "The placement group of this actor was removed, and the actor with it; create both again."
        )
        self.args = (self.error_msg,)


class ActorAlreadyExistsError(ValueError, RayError):
    """A live actor has that name. Choose another, or pass `get_if_exists=True` to share it."""


class ActorHandleNotFoundError(ValueError, RayError):
    """A handle is used in a session other than the one it was made in. Get a new one, for example by name."""


class AsyncioActorExit(RayError):  # noqa: N818  # Ray's name
    """Raised by `exit_actor()` in an async actor to unwind the call; the actor ends after it. Do not catch it."""


class PendingCallsLimitExceeded(RayError):  # noqa: N818  # Ray's name
    """The actor has `max_pending_calls` calls waiting already. Wait for some results first, or raise the limit."""
