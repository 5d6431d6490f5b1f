"""Actors of local mode: an instance, the calls that wait for it, and how it ends."""

import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...exceptions import ActorDiedError, ActorUnavailableError, AsyncioActorExit, RayError, RayTaskError
from ...exceptions.death import DeathCause, DeathKind
from ..actor_descriptor import ActorDescriptor
from ..options import ActorOptions
from .call import Arguments, Call, exit_code

if TYPE_CHECKING:
    import asyncio

    from .runtime import LocalRuntime

logger = logging.getLogger(__name__)

CONSTRUCTOR = "__init__"


class ActorExit(SystemExit):
    """Raised by `exit_actor()` in the methods of an actor that is not async."""


class LocalActor:
    """An actor. It is its own `ActorEntry`: held by its handles and by its calls; when they are gone, so is it."""

    session = None  # the native runtime asks whose handles these are

    def __init__(
        self,
        runtime: "LocalRuntime",
        actor_id: bytes,
        descriptor: ActorDescriptor,
        options: ActorOptions,
        arguments: Arguments,
    ) -> None:
        self.actor_id = actor_id
        self.descriptor = descriptor
        self.options = options
        self.restarts = 0
        self._runtime = runtime
        self._arguments = arguments
        self._instance: Any = None
        self._constructed = False
        self._death: ActorDiedError | None = None
        self._queue: deque[tuple[Call, str]] = deque()
        self._under_way: set[Call] = set()
        self._lock = threading.RLock()
        self._slots: dict[str, asyncio.Semaphore] = {}

    def __del__(self) -> None:
        if self._death is None and self._constructed:
            self._shut_down()

    @property
    def pending(self) -> int:
        """Number of calls that are not finished."""
        return len(self._queue) + len(self._under_way)

    def start(self) -> None:
        """Run the constructor, now or when its arguments are there."""
        self.submit(self._runtime.constructor_call(self, self._arguments), CONSTRUCTOR)

    def submit(self, call: Call, method: str) -> None:
        """Run a call when those before it have been started and its arguments are there."""
        self._queue.append((call, method))
        for dependency in call.arguments.dependencies:
            if not dependency.done:
                dependency.on_done(self._advance)
        self._advance()

    def describe(self) -> str:
        """The instance for people."""
        if self._instance is None:
            return ""  # it is being constructed
        try:
            return repr(self._instance)
        except Exception as error:  # noqa: BLE001 - the user's __repr__ may raise anything
            return f"<{self.descriptor.name} whose repr raised {type(error).__name__}>"

    def kill(self, *, no_restart: bool) -> None:
        """End it from outside, at once; start it again where it may."""
        allowed = self.options.max_restarts
        if self._death is not None:
            return
        if no_restart or (allowed >= 0 and self.restarts >= allowed):
            self._die(DeathCause(DeathKind.KILLED, "It was passed to kill()"))
            return
        name = self.descriptor.name
        self._fail_calls(ActorUnavailableError(f"Actor {name} was passed to kill() and restarts.", self.actor_id.hex()))
        self.restarts += 1
        self._instance, self._constructed = None, False
        self.start()

    def ends_by(self, error: BaseException, call: Call) -> bool:
        """Whether what a call raised ends the actor; if so, end it, and that call with it."""
        if call.outputs.name.endswith(f".{CONSTRUCTOR}"):
            failure = call.task_error(error)
            call.fail(failure)
            self._die(failure)
            return True
        if isinstance(error, ActorExit | AsyncioActorExit):
            self._die(DeathCause(DeathKind.INTENDED_EXIT, "It called exit_actor(), or __ray_terminate__ was called"))
        elif isinstance(error, SystemExit):
            self._die(DeathCause(DeathKind.EXITED, "It called sys.exit()", exit_code=exit_code(error)))
        return self._death is not None

    def _advance(self) -> None:
        """Start calls, in order, while there is one that can be."""
        while True:
            with self._lock:
                if not self._queue or not self._may_start(*self._queue[0]):
                    return
                call, method = self._queue.popleft()
                self._under_way.add(call)
            if self._death is not None:
                call.fail(self._death)
                self._ended(call, method)
            elif self.descriptor.is_async:
                self._runtime.loop.spawn(self._run_on_loop(call, method))
            else:
                call.run(self._target(method))
                self._ended(call, method)

    def _may_start(self, call: Call, method: str) -> bool:
        if self._death is not None:
            return True
        if not call.arguments.ready or not (self._constructed or method == CONSTRUCTOR):
            return False
        limit = max(self.options.max_concurrency, 1 + sum(self.options.concurrency_groups.values()))
        return self.descriptor.is_async or len(self._under_way) < limit

    async def _run_on_loop(self, call: Call, method: str) -> None:
        async with self._slot(call.group):
            if self._death is not None:
                call.fail(self._death)
            else:
                await call.run_async(self._target(method))
        self._ended(call, method)

    def _slot(self, group: str) -> "asyncio.Semaphore":
        """Limits how many calls of a group run at once."""
        import asyncio

        if group not in self._slots:
            size = self.options.concurrency_groups.get(group, self.options.max_concurrency)
            self._slots[group] = asyncio.Semaphore(size)
        return self._slots[group]

    def _ended(self, call: Call, method: str) -> None:
        with self._lock:
            self._under_way.discard(call)
            if method == CONSTRUCTOR and self._death is None:
                self._constructed = True
        if method == CONSTRUCTOR:
            self._advance()

    def _target(self, method: str) -> Callable[..., Any]:
        """What runs for a method."""
        match method:
            case "__init__":
                return self._construct
            case "__ray_ready__":
                return lambda: True
            case "__ray_terminate__":
                return _exit
            case "__ray_call__":
                return lambda function, *args, **kwargs: function(self._instance, *args, **kwargs)
            case _:
                return getattr(self._instance, method)

    def _construct(self, *args: Any, **kwargs: Any) -> Any:
        cls: Any = self.descriptor.cls
        if not inspect.iscoroutinefunction(cls.__init__):
            self._instance = cls(*args, **kwargs)
            return None
        self._instance = cls.__new__(cls)
        return self._instance.__init__(*args, **kwargs)

    def _die(self, cause: DeathCause | RayTaskError) -> None:
        name = self.options.name or self.descriptor.name
        self._death = ActorDiedError(cause, actor_id=self.actor_id.hex(), actor_name=name)
        self._runtime.names.remove(self)
        self._fail_calls(self._death)
        if isinstance(cause, DeathCause) and cause.kind is not DeathKind.KILLED:
            self._shut_down()
        self._instance = None

    def _shut_down(self) -> None:
        """Give the user's class its chance to clean up, as Ray does when an actor ends without being killed."""
        shut_down = getattr(self._instance, "__ray_shutdown__", None)
        if shut_down is None:
            return
        try:
            shut_down()
        except Exception:
            logger.exception("%s.__ray_shutdown__() failed", self.descriptor.name)

    def _fail_calls(self, error: RayError) -> None:
        with self._lock:
            calls = [*self._under_way, *(call for call, _ in self._queue)]
            self._queue.clear()
        for call in calls:
            call.abort(error)


def _exit() -> None:
    raise ActorExit
