"""Remote functions: what `task` makes of a function, and what `.remote()` submits."""

import functools
import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar, overload

from . import runtime
from .options import TaskOptions, task_options
from .signature import signature_of

if TYPE_CHECKING:
    from .dag.call_node import FunctionNode
    from .object_ref import ObjectRef
    from .object_ref_generator import ObjectRefGenerator

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class FunctionDescriptor:
    """One remote function of this process, whatever options it is submitted with.

    Attributes:
        function: the user's function.
        name: its qualified name, as errors and the state API show it.
        module: the name of its module.
        key: 16 random bytes, the same in every process that gets this descriptor in a pickle: each needs the code once.
        signature: what it accepts.
        is_generator: it yields, synchronously or not.
        is_async_generator: it yields asynchronously.
        pickled: whatever the runtime keeps for it, such as the pickled function; None at first.
    """

    __slots__ = (
        "__weakref__",
        "function",
        "is_async_generator",
        "is_generator",
        "key",
        "module",
        "name",
        "pickled",
        "signature",
    )

    def __init__(self, function: Callable[..., Any], key: bytes | None = None) -> None:
        self.function = function
        self.module: str = getattr(function, "__module__", None) or "__main__"
        self.name: str = function.__qualname__.rsplit("<locals>.", maxsplit=1)[-1]
        self.key = key or os.urandom(16)
        self.signature = signature_of(function)
        self.is_generator = is_generator(function)
        self.is_async_generator = inspect.isasyncgenfunction(function)
        self.pickled: Any = None

    def __repr__(self) -> str:
        return f"FunctionDescriptor({self.module}.{self.name})"

    def __reduce__(self) -> tuple[Any, ...]:
        return FunctionDescriptor, (self.function, self.key)


class RemoteFunction(Generic[P, R]):
    """A function that runs elsewhere: `f.remote(...)` submits it and returns a ref to its result at once.

    Thread-safe; pickles, so that tasks can use it. `limelight.get(f.remote(x))` is `f(x)`, run by a worker.
    """

    def __init__(self, descriptor: FunctionDescriptor, given: dict[str, Any], options: TaskOptions) -> None:
        functools.update_wrapper(self, descriptor.function, updated=())
        self._descriptor = descriptor
        self._given = given
        self._options = options
        self._least = descriptor.signature.least
        self._most = descriptor.signature.most
        self._unwrap = options.num_returns in (1, "dynamic")

    if TYPE_CHECKING:

        @overload
        def remote(self, /, *args: P.args, **kwargs: P.kwargs) -> "ObjectRef[R]": ...
        @overload
        def remote(self, /, *args: Any, **kwargs: Any) -> "ObjectRef[R]": ...

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Submit the function; any argument may be an ObjectRef, and the function gets its value.

        Returns:
            An ObjectRef; for `num_returns=0` None, for more than one a list; for a generator an ObjectRefGenerator.

        Raises:
            TypeError: the function does not accept these arguments, or one of them cannot be pickled.
        """
        if kwargs or not self._least <= len(args) <= self._most:
            self._descriptor.signature.check(self._descriptor.name, args, kwargs)
        refs = (runtime._runtime or runtime.current()).submit(self._descriptor, args, kwargs, self._options)
        if self._unwrap:
            return refs[0]  # pyright: ignore[reportIndexIssue] - a list, for these num_returns
        return refs or None

    if TYPE_CHECKING:

        @overload
        def options(self, *, num_returns: int | str, **options: Any) -> "VariadicFunction[P]": ...  # pyright: ignore[reportOverlappingOverload] - the special case comes first
        @overload
        def options(self, **options: Any) -> "RemoteFunction[P, R]": ...

    def options(self, **options: Any) -> Any:
        """This function with other options; those not given stay.

        Raises:
            ValueError: an option does not exist or its value is not allowed.
            TypeError: an option's value has the wrong type.
        """
        if "max_calls" in options:
            raise ValueError("max_calls cannot be set in .options(): give it in the decorator.")
        return _remote_function(self._descriptor, {**self._given, **options})

    @property
    def _function(self) -> Callable[P, R]:
        """The plain function, by the name that Ray's users know; as `__wrapped__`."""
        return self._descriptor.function

    def bind(self, /, *args: Any, **kwargs: Any) -> "FunctionNode":
        """Note the call down as a node of a lazy graph: see `limelight.dag`. Errors as of `remote`."""
        from .dag.call_node import FunctionNode

        self._descriptor.signature.check(self._descriptor.name, args, kwargs)
        return FunctionNode(self, args, kwargs)

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse, and say what to do instead."""
        name = self._descriptor.name
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of {name}(...), use "
            f"limelight.get({name}.remote(...)) to run it in the cluster, or {name}.__wrapped__(...) to run it here."
        )

    def __repr__(self) -> str:
        return f"<remote function {self._descriptor.module}.{self._descriptor.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _remote_function, (self._descriptor, self._given)


class VariadicFunction(Protocol[P]):
    """A remote function with `num_returns` given: what `.remote()` returns depends on it. For type checkers only."""

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """As `RemoteFunction.remote`."""
        ...

    def options(self, **options: Any) -> "VariadicFunction[P]":
        """As `RemoteFunction.options`."""
        ...


class GeneratorFunction(Protocol[P, T_co]):
    """A remote generator function. For type checkers only: it is a RemoteFunction."""

    @overload
    def remote(self, *args: P.args, **kwargs: P.kwargs) -> "ObjectRefGenerator[T_co]": ...
    @overload
    def remote(self, *args: Any, **kwargs: Any) -> "ObjectRefGenerator[T_co]": ...

    @overload
    def options(self, *, num_returns: int | str, **options: Any) -> "VariadicFunction[P]": ...  # pyright: ignore[reportOverlappingOverload] - the special case comes first
    @overload
    def options(self, **options: Any) -> "GeneratorFunction[P, T_co]": ...


class TaskDecorator(Protocol):
    """What `task(num_cpus=...)` returns."""

    @overload
    def __call__(self, function: Callable[P, Iterator[T] | AsyncIterator[T]], /) -> GeneratorFunction[P, T]: ...  # pyright: ignore[reportOverlappingOverload] - the special case comes first
    @overload
    def __call__(self, function: Callable[P, R], /) -> RemoteFunction[P, R]: ...


class VariadicTaskDecorator(Protocol):
    """What `task(num_returns=...)` returns."""

    def __call__(self, function: Callable[P, Any], /) -> VariadicFunction[P]:
        """Make the function remote."""
        ...


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether calling it makes a generator, synchronous or not."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def make_task(function: Any, given: dict[str, Any]) -> RemoteFunction[..., Any]:
    """Make a remote function.

    Raises:
        TypeError: it is not a plain function; an option's value has the wrong type.
        ValueError: it is a coroutine function; an option does not exist or its value is not allowed.
    """
    if not isinstance(function, FunctionType):
        kind = "a class" if isinstance(function, type) else f"{function!r}, of type {type(function).__name__}"
        hint = "use limelight.actor for it" if isinstance(function, type) else "wrap it in a function"
        raise TypeError(f"A task is made from a function (def or lambda), not from {kind}: {hint}.")
    if inspect.iscoroutinefunction(function):
        raise ValueError(
            f"'async def' should not be used for remote tasks, and {function.__qualname__} is one: a task has a worker "
            "to itself. Make it 'def' with asyncio.run(...) inside, or make it a method of an actor."
        )
    return _remote_function(FunctionDescriptor(function), given)


def _remote_function(descriptor: FunctionDescriptor, given: dict[str, Any]) -> RemoteFunction[..., Any]:
    options = task_options(given, generator=descriptor.is_generator, function=descriptor.name)
    return RemoteFunction(descriptor, given, options)
