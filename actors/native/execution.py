"""Running one invocation: arguments in, the user's code, an outcome out."""

import asyncio
import inspect
import itertools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ...exceptions.trace import forget_framework_frames
from ..contract import Dependency, Invocation, Outcome, Template, Value, encode
from ..object_ref import ObjectRef
from ..serialization import serialize_error
from . import slot
from .entry import ObjectEntry
from .forked import end_child
from .running import ActorExit, Job, Terminated, running
from .slot import NO_ARGS
from .timeline import SpanRecorder
from .value_codec import from_inline

if TYPE_CHECKING:
    from .hub import Hub

_REPLY_LIMIT = 4 * 1024 * 1024
"""Results of up to so many bytes in all travel in one reply; further ones go to the store, however small."""


def exit_reason(job: Job, error: SystemExit) -> str:
    """Why a process that runs a job ends, for the error of that job and of those that come later."""
    name = job.template.name
    who = {"create": "its constructor", "method": f"its method {name}"}.get(job.template.kind, f"its task {name}")
    if isinstance(error, Terminated):
        return f"it was sent SIGTERM while {who.removeprefix('its ')} ran"
    return f"{who} called sys.exit({'' if error.code is None else repr(error.code)})"


class Functions:
    """Functions and classes by id, unpickled once per process."""

    def __init__(self) -> None:
        self._loaded: dict[bytes, Any] = {}
        self._calls: dict[bytes, int] = {}

    def load(self, template: Template) -> Any:
        """The function (or class) of a template.

        Raises:
            Exception: whatever unpickling it raises, e.g. ModuleNotFoundError where its module is not installed.
        """
        found = self._loaded.get(template.function_id)
        if found is None:
            found = self._loaded[template.function_id] = from_inline(template.function)
        return found

    def is_used_up(self, template: Template) -> bool:
        """Whether a function with `max_calls`, which has just run, has run as often as it may in one process."""
        calls = self._calls[template.function_id] = self._calls.get(template.function_id, 0) + 1
        return calls >= template.options["max_calls"]


class Execution:
    """How invocations are run in this process. Methods run on the thread (or loop) that runs the user's code."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self.functions = Functions()
        self.recorder = SpanRecorder(hub)

    def run(self, job: Job, find: Callable[[Job], Callable[..., Any]]) -> None:
        """Run a plain function for a job, and answer. `find` gives the function; it may fail like the function itself.

        Raises:
            SystemExit: a task's function did: it takes its worker along, and its caller sees that like any other end.
        """
        token = running.set(job)
        imports: list[ObjectEntry] = []
        ours = True
        start = time.perf_counter()
        try:
            function = find(job)
            args, kwargs = self.arguments(job.invocation, imports)
            start = time.perf_counter()
            try:
                job.interruptible = True
                if job.cancelled:  # while it could not be interrupted
                    raise KeyboardInterrupt
                ours = False
                result = function(*args, **kwargs)
                seconds = time.perf_counter() - start
                del args, kwargs
                if self._hub.forked:
                    end_child(None)
                if job.template.num_returns < 0:
                    self._hub.streaming.send(job, result)
                    seconds = time.perf_counter() - start
                ours = True
            finally:
                job.interruptible = False
            outcome = Outcome("ok", seconds, self.returns(job, result))
            del result
        except BaseException as error:
            if self._hub.forked:
                end_child(error)
            if isinstance(error, SystemExit) and not job.invocation.actor_id:
                raise
            args = kwargs = result = None  # noqa: F841 - the traceback's frame must not keep them alive
            outcome = self.failure(job, error, time.perf_counter() - start, ours)
        finally:
            running.reset(token)
        self.answer(job, outcome, imports)

    async def run_async(self, job: Job, find: Callable[[Job], Callable[..., Any]]) -> None:
        """Run a coroutine function (or async generator) for a job, and answer."""
        running.set(job)  # the asyncio task has a context of its own
        imports: list[ObjectEntry] = []
        ours = True
        start = time.perf_counter()
        try:
            function = find(job)
            args, kwargs = self.arguments(job.invocation, imports)
            start = time.perf_counter()
            ours = False
            result = function(*args, **kwargs)
            if job.template.num_returns < 0:
                await self._hub.streaming.send_async(job, result)
            elif inspect.isawaitable(result):
                result = await result
            del args, kwargs
            ours = True
            outcome = Outcome("ok", time.perf_counter() - start, self.returns(job, result))
            del result
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is the outcome
            args = kwargs = result = None  # noqa: F841 - the traceback's frame must not keep them alive
            outcome = self.failure(job, error, time.perf_counter() - start, ours)
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
                args, kwargs = slot.join(args, kwargs, self._dependencies(invocation.dependencies))
        return args, kwargs

    def _dependencies(self, dependencies: Sequence[Dependency]) -> list[Any]:
        """The values of arguments by ref. Those that did not fit into the message are asked for all at once."""
        table = self._hub.table
        asked: dict[int, ObjectRef[Any]] = {}
        for index, dependency in enumerate(dependencies):
            if dependency.value.kind == "r" and dependency.ref is not None:
                asked[index] = table.imported(dependency.ref.object_id, dependency.ref.owner)
        if asked:
            self._hub.waiting.wait_ready(list(asked.values()), len(asked), None, fail_fast=True)
        with self._hub.prefetch.reading(dependencies):
            return [
                self._hub.values.read(asked[index]) if index in asked else self._dependency(dependency)
                for index, dependency in enumerate(dependencies)
            ]

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
            return self._pack(job, (result,))
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
        return self._pack(job, parts)

    def _pack(self, job: Job, results: Sequence[Any]) -> tuple[Value, ...]:
        values = self._hub.values
        packed: list[Value] = []
        room = _REPLY_LIMIT
        try:
            for index, result in enumerate(results, 1):
                value, refs = values.pack_result(result, job, index, room)
                room -= len(value.data)
                packed.append(value)
                job.lent += refs
        except BaseException:  # a later one cannot be pickled: none of them leaves
            for index, value in enumerate(packed, 1):
                values.unpack_result(value, job, index)
            job.lent = []
            raise
        return tuple(packed)

    def failure(self, job: Job, error: BaseException, seconds: float, ours: bool = False) -> Outcome:
        """The outcome of an invocation that raised; `ours`: not in the user's code, but before or after it."""
        if job.cancelled and isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
            return Outcome("cancelled", seconds)
        template, actor_id = job.template, job.invocation.actor_id
        if isinstance(error, asyncio.CancelledError) and actor_id and self._hub.executor.hosted(actor_id) is None:
            return self._hub.actors.no_such_actor(job)  # it has ended, and this call with it
        if actor_id and isinstance(error, SystemExit):
            reason = "it called exit_actor()" if isinstance(error, ActorExit) else exit_reason(job, error)
            return self._hub.actors.exits(job, reason)
        if ours:
            forget_framework_frames(error)
        data = serialize_error(error, **self._hub.whereabouts(job))
        return Outcome("error", seconds, (Value("e", data),), retryable=self._is_retryable(template, error))

    def _is_retryable(self, template: Template, error: BaseException) -> bool:
        retry = template.options.get("retry_exceptions")
        if not retry or not isinstance(error, Exception):
            return False
        return retry is True or isinstance(error, tuple(from_inline(retry)))

    def refuse(self, job: Job, error: Exception) -> None:
        """Answer a job that cannot be run."""
        if self._hub.executor.claim(job):
            self._hub.executor.done(job)
            job.channel.reply(job.call_id, encode(self.failure(job, error, 0.0)))

    def answer(self, job: Job, outcome: Outcome, imports: list[ObjectEntry]) -> None:
        """Send the outcome, once the owners of refs that stay here know of it."""
        self._hub.finish_lines()
        self.recorder.add(job, outcome)
        if "max_calls" in job.template.options and self.functions.is_used_up(job.template):
            outcome = msgspec.structs.replace(outcome, leaving=True)
            self._hub.wire.post(SpanRecorder.flush, self.recorder)  # before the answer: after it, this process is ended
        if imports or job.lent:
            self._hub.wire.post(self._hub.borrowing.answer, (job, outcome, imports, job.lent))
        else:
            job.channel.reply(job.call_id, encode(outcome))
