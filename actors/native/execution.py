"""Running one invocation: arguments in, the user's code, an outcome out."""

import asyncio
import inspect
import itertools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..contract import Dependency, Invocation, Outcome, Template, Value, encode
from ..object_ref import ObjectRef
from ..serialization import deserialize, serialize_error
from . import slot
from .entry import ObjectEntry
from .running import ActorExit, Job, running
from .slot import NO_ARGS
from .value_codec import from_inline

if TYPE_CHECKING:
    from .hub import Hub


def exit_reason(job: Job, error: SystemExit) -> str:
    """Why a process that runs a job ends, for the error of that job and of those that come later."""
    name = job.template.name
    who = {"create": "its constructor", "method": f"its method {name}"}.get(job.template.kind, f"its task {name}")
    return f"{who} called sys.exit({'' if error.code is None else repr(error.code)})"


class Functions:
    """Functions and classes by id, unpickled once per process."""

    def __init__(self) -> None:
        self._loaded: dict[bytes, Any] = {}

    def load(self, template: Template) -> Any:
        """The function (or class) of a template.

        Raises:
            Exception: whatever unpickling it raises, e.g. ModuleNotFoundError where its module is not installed.
        """
        found = self._loaded.get(template.function_id)
        if found is None:
            found = self._loaded[template.function_id] = deserialize(template.function, ())
        return found


class Execution:
    """How invocations are run in this process. Methods run on the thread (or loop) that runs the user's code."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self.functions = Functions()

    def run(self, job: Job, find: Callable[[Job], Callable[..., Any]]) -> None:
        """Run a plain function for a job, and answer. `find` gives the function; it may fail like the function itself."""
        token = running.set(job)
        imports: list[ObjectEntry] = []
        start = time.perf_counter()
        try:
            function = find(job)
            args, kwargs = self.arguments(job.invocation, imports)
            start = time.perf_counter()
            job.interruptible = True
            result = function(*args, **kwargs)
            seconds = time.perf_counter() - start
            del args, kwargs
            if job.template.num_returns < 0:
                self._hub.streaming.send(job, result)
                seconds = time.perf_counter() - start
            job.interruptible = False
            outcome = Outcome("ok", seconds, self.returns(job, result))
            del result
        except BaseException as error:
            job.interruptible = False
            if isinstance(error, SystemExit) and not job.invocation.actor_id:
                raise  # a task that exits takes its worker along; its caller sees that like any other end
            args = kwargs = result = None  # noqa: F841 - the traceback's frame must not keep them alive
            outcome = self.failure(job, error, time.perf_counter() - start)
        finally:
            running.reset(token)
        self.answer(job, outcome, imports)

    async def run_async(self, job: Job, find: Callable[[Job], Callable[..., Any]]) -> None:
        """Run a coroutine function (or async generator) for a job, and answer."""
        running.set(job)  # the asyncio task has a context of its own
        imports: list[ObjectEntry] = []
        start = time.perf_counter()
        try:
            function = find(job)
            args, kwargs = self.arguments(job.invocation, imports)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            if job.template.num_returns < 0:
                await self._hub.streaming.send_async(job, result)
            elif inspect.isawaitable(result):
                result = await result
            del args, kwargs
            outcome = Outcome("ok", time.perf_counter() - start, self.returns(job, result))
            del result
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is the outcome
            args = kwargs = result = None  # noqa: F841
            outcome = self.failure(job, error, time.perf_counter() - start)
        self.answer(job, outcome, imports)

    def arguments(self, invocation: Invocation, imports: list[ObjectEntry]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of an invocation; entries of refs among them are added to `imports`."""
        if invocation.args == NO_ARGS and invocation.stored_args is None:
            return (), {}
        with self._hub.table.importing(imports):
            if invocation.stored_args is not None:
                args, kwargs = self._dependency(invocation.stored_args)
            else:
                args, kwargs = from_inline(invocation.args)
            if invocation.dependencies:
                values = [self._dependency(dependency) for dependency in invocation.dependencies]
                args, kwargs = slot.join(args, kwargs, values)
        return args, kwargs

    def _dependency(self, dependency: Dependency) -> Any:
        value = dependency.value
        if value.kind == "i":
            return from_inline(value.data)
        if dependency.ref is None:
            raise ValueError("A stored dependency needs its ref.")
        ref: ObjectRef[Any] = self._hub.table.imported(dependency.ref.object_id, dependency.ref.owner)
        return self._hub.values.read_stored(ref, value.location)

    def returns(self, job: Job, result: Any) -> tuple[Value, ...]:
        """A result as the values that its template promises.

        Raises:
            ValueError: it has not as many parts as `num_returns` says.
        """
        count = job.template.num_returns
        if count <= 0:
            return ()
        if inspect.isgenerator(result):
            result = list(itertools.islice(result, count))  # what it would yield beyond that nobody wants
            if count == 1 and result:
                result = result[0]
        if count == 1:
            return (self._pack(job, result, 1),)
        try:
            parts: Sequence[Any] = tuple(result)
        except TypeError:
            raise TypeError(
                f"{job.template.name} was to return {count} values (num_returns={count}), but returned one "
                f"{type(result).__name__}, which cannot be taken apart. Return a tuple or list of {count}."
            ) from None
        if len(parts) != count:
            raise ValueError(
                f"{job.template.name} was to return {count} values (num_returns={count}), but returned {len(parts)}."
            )
        return tuple(self._pack(job, part, index) for index, part in enumerate(parts, 1))

    def _pack(self, job: Job, result: Any, index: int) -> Value:
        return self._hub.values.pack_result(result, job.invocation.task_id, index, job.channel.peer)

    def failure(self, job: Job, error: BaseException, seconds: float) -> Outcome:
        """The outcome of an invocation that raised."""
        if job.cancelled and isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
            return Outcome("cancelled", seconds)
        template, actor_id = job.template, job.invocation.actor_id
        if isinstance(error, asyncio.CancelledError) and actor_id and self._hub.executor.hosted(actor_id) is None:
            return self._hub.no_such_actor(job)  # it has ended, and this call with it
        if actor_id and isinstance(error, SystemExit):
            reason = "it called exit_actor()" if isinstance(error, ActorExit) else exit_reason(job, error)
            return self._hub.actor_exits(job, reason)
        data = serialize_error(error, **self._hub.whereabouts(job))
        return Outcome("error", seconds, (Value("e", data),), retryable=self._is_retryable(template, error))

    def _is_retryable(self, template: Template, error: BaseException) -> bool:
        retry = template.options.get("retry_exceptions")
        if not retry or not isinstance(error, Exception):
            return False
        return retry is True or isinstance(error, tuple(deserialize(retry, ())))

    def refuse(self, job: Job, error: Exception) -> None:
        """Answer a job that cannot be run."""
        if self._hub.executor.claim(job):
            self._hub.executor.done(job)
            job.channel.reply(job.call_id, encode(self.failure(job, error, 0.0)))

    def answer(self, job: Job, outcome: Outcome, imports: list[ObjectEntry]) -> None:
        """Send the outcome, once the owners of refs that stay here know of it."""
        self._hub.finish_lines()
        if imports:
            self._hub.wire.post(self._hub.answer_holding, (job, outcome, imports))
        else:
            job.channel.reply(job.call_id, encode(outcome))
