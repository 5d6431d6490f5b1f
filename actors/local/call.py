"""One task or call of an actor's method in local mode: arguments in, outcome into its objects."""

import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from ...exceptions import RayError, RayTaskError, TaskCancelledError, WorkerCrashedError
from ...exceptions.death import DeathCause, DeathKind
from ...exceptions.trace import forget_framework_frames
from ..object_ref import ObjectRef
from ..returns import split_returns
from ..serialization import deserialize, serialize_args
from .frame import Frame, current_frame
from .object import LocalObject

if TYPE_CHECKING:
    import asyncio

    from .runtime import LocalRuntime
    from .stream import LocalStream


class Outputs(msgspec.Struct):
    """What a call fills: an object per return value, or a stream."""

    name: str
    objects: list[LocalObject]
    stream: "LocalStream | None" = None
    dynamic: bool = False

    def succeed(self, result: Any) -> None:
        """Store the result. Raises what is wrong with it."""
        values = split_returns(result, len(self.objects), self.name)
        for made, value in zip(self.objects, values, strict=True):
            made.set_value(value, f"the return value of {self.name}")
        for made in self.objects:
            made.finish()

    def fail(self, error: RayError) -> None:
        """Store the error."""
        if self.stream is not None:
            self.stream.fail(error)
        for made in self.objects:
            made.set_error(error)
            made.finish()


class Arguments:
    """Arguments as they would travel; `load` makes fresh copies of them, with values in the place of refs."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> None:
        self._packed = serialize_args(args, kwargs, name)
        self._buffers = [bytes(buffer) for buffer in self._packed.buffers]
        self.dependencies = [arg._entry for arg in (*args, *kwargs.values()) if isinstance(arg, ObjectRef)]

    @property
    def ready(self) -> bool:
        """Whether the values of all refs are there."""
        return all(dependency.done for dependency in self.dependencies)

    def load(self) -> tuple[list[Any], dict[str, Any]]:
        """The arguments. Raises the error of a ref that has one."""
        args, kwargs = deserialize(self._packed.data, self._buffers)
        return [_value_of(arg) for arg in args], {name: _value_of(arg) for name, arg in kwargs.items()}


class Retry(msgspec.Struct, frozen=True):
    """How often, and after which exceptions, a call is run again."""

    left: int = 0
    exceptions: bool | tuple[type[Exception], ...] = False

    def applies(self, error: BaseException, attempt: int) -> bool:
        """Whether a call that raised `error` in its attempt number `attempt` (from 0) is run again."""
        if self.left >= 0 and attempt >= self.left:
            return False
        if isinstance(self.exceptions, tuple):
            return isinstance(error, self.exceptions)
        return self.exceptions and isinstance(error, Exception)


class Call:
    """A call: runs, retries, fills its outputs."""

    def __init__(
        self,
        runtime: "LocalRuntime",
        frame: Frame,
        arguments: Arguments,
        outputs: Outputs,
        retry: Retry,
        group: str = "",
    ) -> None:
        self.runtime = runtime
        self.frame = frame
        self.parent = current_frame.get()
        self.arguments = arguments
        self.outputs = outputs
        self.group = group
        self._retry = retry
        self._settled = False
        self.started: float | None = None
        self.failed = False
        self.traced = True
        self._asyncio_task: asyncio.Task[Any] | None = None

    @property
    def settled(self) -> bool:
        """Whether it has succeeded or failed."""
        return self._settled

    def run(self, function: Callable[..., Any]) -> None:
        """Run to the end on this thread, or for a stream until it is full."""
        self.started = time.time()
        token = current_frame.set(self.frame)
        try:
            while not self._settled:
                try:
                    args, kwargs = self.arguments.load()
                    self._accept(function(*args, **kwargs))
                except (Exception, SystemExit) as error:  # noqa: BLE001 - user code raises anything
                    self._retry_or_fail(error)
                else:
                    return
        finally:
            current_frame.reset(token)

    async def run_async(self, function: Callable[..., Any]) -> None:
        """The same for a method of an async actor, as a coroutine."""
        import asyncio

        current_frame.set(self.frame)  # an asyncio task has a context of its own
        self.started = time.time()
        self._asyncio_task = asyncio.current_task()
        while not self._settled:
            try:
                args, kwargs = self.arguments.load()
                result = function(*args, **kwargs)
                if inspect.isasyncgen(result):
                    await self._collect(result)
                else:
                    self._accept(await result if inspect.isawaitable(result) else result)
            except asyncio.CancelledError as error:
                self.fail(self._cancelled() if self.frame.cancelled else self.task_error(error))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - user code raises anything
                self._retry_or_fail(error)
            else:
                return

    def cancel(self) -> None:
        """Do not run it, or interrupt it where it waits."""
        self.frame.cancelled = True
        if self._asyncio_task is not None:
            self._asyncio_task.cancel()
        else:
            self.fail(self._cancelled())

    def abort(self, error: RayError) -> None:
        """Fail it from outside, and interrupt it where it waits."""
        self.fail(error)
        if self._asyncio_task is not None:
            self._asyncio_task.cancel()

    def fail(self, error: RayError) -> None:
        """Make `error` its outcome, unless it has one."""
        if not self._settled:
            self._settled = self.failed = True
            self.outputs.fail(error)
            self.runtime.settled(self)

    def task_error(self, error: BaseException) -> RayTaskError:
        """The error that `get` raises for what the user's code raised."""
        actor = self.frame.actor
        forget_framework_frames(error)
        return RayTaskError.from_exception(
            error,
            self.outputs.name,
            node_id=self.frame.node_id.hex(),
            actor_id=actor.actor_id.hex() if actor else None,
            actor_repr=actor.describe() if actor else None,
        )

    def _cancelled(self) -> TaskCancelledError:
        return TaskCancelledError(self.frame.task_id)

    def _succeed(self, result: Any) -> None:
        self.outputs.succeed(result)
        self._settle()

    def _settle(self) -> None:
        self._settled = True
        self.runtime.settled(self)

    def _retry_or_fail(self, error: BaseException) -> None:
        if self._settled:
            return
        if not self.frame.cancelled and self._retry.applies(error, self.frame.attempt_number):
            self.frame.attempt_number += 1
            return
        actor = self.frame.actor
        if actor is not None and actor.ends_by(error, self):
            return
        if isinstance(error, SystemExit):
            cause = DeathCause(DeathKind.EXITED, "It called sys.exit()", exit_code=exit_code(error))
            self.fail(WorkerCrashedError(cause=cause, task_name=self.outputs.name))
        else:
            self.fail(self.task_error(error))

    def _accept(self, result: Any) -> None:
        if self._settled:  # it was cancelled, or its actor killed, by what it called itself
            return
        if self.outputs.dynamic:
            self._succeed(self.runtime.collect_items(self.frame, result))
        elif self.outputs.stream is None:
            self._succeed(result)
        else:
            self._produce(self.outputs.stream, iter(result))

    def _produce(self, stream: "LocalStream", items: Iterator[Any]) -> None:
        """Let a generator run until the stream is full, now and whenever an item was taken."""
        running = False

        def resume() -> None:
            nonlocal running
            if running or self._settled:
                return
            running = True
            token = current_frame.set(self.frame)
            try:
                while not stream.full and not self._settled:
                    stream.add(next(items))
            except StopIteration:
                stream.end()
                self._settle()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - user code raises anything
                self._retry = Retry()  # items were taken already
                self._retry_or_fail(error)
            finally:
                current_frame.reset(token)
                running = False

        stream.resume = resume
        resume()

    async def _collect(self, items: AsyncIterator[Any]) -> None:
        """Put the items of an asynchronous generator into the stream, and wait while it is full."""
        import asyncio

        stream = self.outputs.stream
        if stream is None:
            self._accept([item async for item in items])
            return
        room = asyncio.Event()
        stream.resume = lambda: self.runtime.loop.tell(room.set)
        async for item in items:
            stream.add(item)
            while stream.full:
                room.clear()
                await room.wait()
        stream.end()
        self._settle()


def exit_code(error: SystemExit) -> int:
    """The exit code that a process would end with."""
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def _value_of(argument: Any) -> Any:
    return argument._entry.value() if isinstance(argument, ObjectRef) else argument
