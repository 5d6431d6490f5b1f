"""Running one invocation: arguments in, the user's code, an outcome out."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...transport.protocol import Message
from ..contract import Dependency, Invocation, Outcome, Template, Value, encode
from ..object_ref import ObjectRef
from ..serialization import deserialize, serialize_error
from . import slot
from .entry import ObjectEntry
from .running import Job, running
from .value_codec import from_inline

if TYPE_CHECKING:
    from .core import Core

NO_ARGS = b""
"""What stands for `((), {})`: most no-op calls have no arguments, and need no pickle."""


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
    """How invocations are run in this process. Each method runs on the thread that runs the user's code."""

    def __init__(self, core: "Core") -> None:
        self._core = core
        self.functions = Functions()

    def call(self, job: Job, function: Callable[..., Any]) -> None:
        """Run a plain function or method for a job, and answer."""
        token = running.set(job)
        imports: list[ObjectEntry] = []
        start = time.perf_counter()
        try:
            args, kwargs = self.arguments(job.invocation, imports)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            seconds = time.perf_counter() - start
            del args, kwargs
            if job.template.num_returns < 0:
                self._core.streams.send_all(job, result)
                outcome = Outcome("ok", time.perf_counter() - start)
            else:
                outcome = Outcome("ok", seconds, self.returns(job, result))
            del result
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is the outcome
            args = kwargs = result = None  # noqa: F841 - the traceback's frames must not keep arguments alive
            outcome = self.failure(job, error, time.perf_counter() - start)
            del error
        finally:
            running.reset(token)
        self.answer(job, outcome, imports)

    def arguments(self, invocation: Invocation, imports: list[ObjectEntry]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of an invocation; entries of refs among them are added to `imports`."""
        if invocation.args == NO_ARGS and invocation.stored_args is None:
            return (), {}
        with self._core.table.importing(imports):
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
        ref: ObjectRef[Any] = self._core.table.imported(dependency.ref.object_id, dependency.ref.owner)
        return self._core.read_stored(ref, value.location)

    def returns(self, job: Job, result: Any) -> tuple[Value, ...]:
        """A result as the values that its template promises.

        Raises:
            ValueError: it has not as many parts as `num_returns` says.
        """
        count = job.template.num_returns
        if count == 1:
            return (self.pack(job, result, 1),)
        if count == 0:
            return ()
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
        return tuple(self.pack(job, part, index) for index, part in enumerate(parts, 1))

    def pack(self, job: Job, result: Any, index: int) -> Value:
        """One result, ready to travel to the caller."""
        return self._core.values.pack_result(result, job.invocation.task_id, index, job.channel.peer)

    def failure(self, job: Job, error: BaseException, seconds: float) -> Outcome:
        """The outcome of an invocation that raised."""
        if job.cancelled and isinstance(error, KeyboardInterrupt | self._core.cancelled_errors):
            return Outcome("cancelled", seconds)
        template = job.template
        data = serialize_error(error, **self._core.whereabouts(template.name, job))
        retryable = self._core.is_retryable(template, error)
        return Outcome("error", seconds, (Value("e", data),), retryable=retryable)

    def answer(self, job: Job, outcome: Outcome, imports: list[ObjectEntry]) -> None:
        """Send the outcome, once the owners of refs that stay here know of it."""
        if not imports:
            job.channel.reply(job.call_id, encode(outcome))
            return
        self._core.wire.post(self._core.answer_holding, (job, outcome, imports))


def describe(function: Any) -> str:
    """A function's name for people."""
    if isinstance(function, functools.partial):
        return describe(function.func)
    return getattr(function, "__qualname__", type(function).__name__)


__all__ = ["NO_ARGS", "Execution", "Functions", "Message", "describe"]
