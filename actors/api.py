"""What users call: `task`, `actor`, `remote`, `get`, `put`, `wait`, `cancel`, `kill` and the rest."""

import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from numbers import Real
from operator import attrgetter
from pathlib import Path
from typing import Any, ParamSpec, Protocol, SupportsIndex, TypeVar, overload

from . import option_rule, runtime
from .actor import ActorClass, ActorDecorator, ActorHandle, make_actor
from .object_ref import ObjectRef
from .object_ref_generator import ObjectRefGenerator
from .option_rule import ACTOR_RULES, TASK_RULES
from .task import GeneratorFunction, RemoteFunction, TaskDecorator, VariadicTaskDecorator, make_task

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
C = TypeVar("C")
W = TypeVar("W", bound=ObjectRef[Any] | ObjectRefGenerator[Any])

logger = logging.getLogger(__name__)

_WAITABLE = {ObjectRef, ObjectRefGenerator}
_id_of = attrgetter("_id")

_warned_of_blocking: set[bytes] = set()


class RemoteDecorator(Protocol):
    """What `remote(num_cpus=...)` returns."""

    @overload
    def __call__(self, target: type[C], /) -> ActorClass[..., C]: ...  # pyright: ignore[reportOverlappingOverload] - the special case comes first
    @overload
    def __call__(self, target: Callable[P, Iterator[T] | AsyncIterator[T]], /) -> GeneratorFunction[P, T]: ...
    @overload
    def __call__(self, target: Callable[P, R], /) -> RemoteFunction[P, R]: ...


@overload
def task(function: Callable[P, Iterator[T] | AsyncIterator[T]], /) -> GeneratorFunction[P, T]: ...  # pyright: ignore[reportOverlappingOverload] - the special case comes first
@overload
def task(function: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def task(*, num_returns: int | str, **options: Any) -> VariadicTaskDecorator: ...  # pyright: ignore[reportOverlappingOverload] - the special case comes first
@overload
def task(**options: Any) -> TaskDecorator: ...
def task(*functions: Any, **options: Any) -> Any:
    """Make a function remote: `@task`, or with options `@task(num_cpus=2, max_retries=0)`.

    Args:
        functions: the function, where this is used as a bare decorator.
        options: num_cpus, num_gpus, memory (bytes), resources, num_returns, max_retries, retry_exceptions, max_calls,
            runtime_env, scheduling_strategy, label_selector, accelerator_type, name and the others of `TaskOptions`.

    Raises:
        ValueError: an option does not exist or its value is not allowed.
        TypeError: an option's value has the wrong type, or what is decorated is not a function.
    """
    return _decorate("task", make_task, functions, options)


@overload
def actor(cls: Callable[P, C], /) -> ActorClass[P, C]: ...
@overload
def actor(**options: Any) -> ActorDecorator: ...
def actor(*classes: Any, **options: Any) -> Any:
    """Make a class an actor class: `@actor`, or with options `@actor(num_gpus=0.5, max_restarts=2)`.

    A method `__ray_shutdown__(self)` is called when an actor ends by itself: when no handle to it is left, by
    `exit_actor()`, `sys.exit()` or `__ray_terminate__`; not by `kill()`, by a crash, or with the session. What
    `__repr__` returns, where the class has one, begins the lines that its actors print.

    Args:
        classes: the class, where this is used as a bare decorator.
        options: num_cpus, num_gpus, memory (bytes), resources, name, namespace, lifetime, get_if_exists, max_restarts,
            max_task_retries, max_concurrency, concurrency_groups, max_pending_calls, isolation, runtime_env,
            scheduling_strategy and the others of `ActorOptions`.

    Raises:
        ValueError: an option does not exist or its value is not allowed.
        TypeError: an option's value has the wrong type, or what is decorated is not a class.
    """
    return _decorate("actor", make_actor, classes, options)


@overload
def remote(target: type[C], /) -> ActorClass[..., C]: ...  # pyright: ignore[reportOverlappingOverload] - the special case comes first
@overload
def remote(target: Callable[P, Iterator[T] | AsyncIterator[T]], /) -> GeneratorFunction[P, T]: ...
@overload
def remote(target: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def remote(*, num_returns: int | str, **options: Any) -> VariadicTaskDecorator: ...  # pyright: ignore[reportOverlappingOverload] - the special case comes first
@overload
def remote(**options: Any) -> RemoteDecorator: ...
def remote(*targets: Any, **options: Any) -> Any:
    """Ray's decorator for both: `task` for a function, `actor` for a class.

    Raises:
        ValueError: an option does not exist or its value is not allowed.
        TypeError: an option's value has the wrong type, or what is decorated is neither.
    """
    unknown = next((name for name in options if name not in TASK_RULES and name not in ACTOR_RULES), None)
    if unknown is not None:
        known = {**TASK_RULES, **ACTOR_RULES}
        raise ValueError(option_rule.unknown_name(f"Invalid option keyword {unknown!r} for remote()", unknown, known))
    return _decorate("remote", _make_either, targets, options)


def _make_either(target: Any, given: dict[str, Any]) -> Any:
    if isinstance(target, RemoteFunction | ActorClass):
        raise TypeError(f"{target!r} is remote already: use .options(...) to give it other options.")
    return make_actor(target, given) if isinstance(target, type) else make_task(target, given)


def _decorate(
    name: str, make: Callable[[Any, dict[str, Any]], Any], targets: tuple[Any, ...], given: dict[str, Any]
) -> Any:
    """Do what decorators do that work bare (one target, no options), and with options (no target, at least one)."""
    if len(targets) == 1 and not given:
        return make(targets[0], {})
    if targets or not given:
        raise TypeError(
            f"Use @{name} without parentheses, or with keyword options, like @{name}(num_cpus=2); "
            f"{len(targets)} positional arguments and {len(given)} options were given."
        )
    return lambda target: make(target, dict(given))


@overload
def get(object_refs: ObjectRef[R], *, timeout: float | None = None) -> R: ...
@overload
def get(object_refs: Sequence[ObjectRef[R]], *, timeout: float | None = None) -> list[R]: ...
@overload
def get(object_refs: ObjectRefGenerator[R], *, timeout: float | None = None) -> ObjectRefGenerator[R]: ...
def get(object_refs: Any, *, timeout: float | None = None) -> Any:
    """The value of a ref, or the list of values of a list of refs; waits for them.

    Args:
        object_refs: an ObjectRef, or a list of them. An ObjectRefGenerator is returned as it is, as in Ray.
        timeout: seconds to wait at most; 0 does not wait; None (or -1) waits without limit.

    Raises:
        GetTimeoutError: not all values were there in time.
        RayTaskError: a task failed; it is also an instance of the class of the task's exception.
        RayError: something else went wrong with a task, an actor or an object; see `limelight.exceptions`.
    """
    current = runtime._runtime or runtime.current()
    if timeout is not None:
        timeout = None if timeout == -1 else _seconds("get", timeout)
    if sys.modules.get("asyncio") is not None:
        _warn_if_blocking_a_loop(current)
    if isinstance(object_refs, ObjectRef):
        return current.get([object_refs], timeout)[0]
    if isinstance(object_refs, list):
        for ref in object_refs:
            if not isinstance(ref, ObjectRef):
                raise TypeError(f"get() was given a list with {_shown(ref)} in it: every item must be an ObjectRef.")
        return current.get(object_refs, timeout) if object_refs else []
    if isinstance(object_refs, ObjectRefGenerator):
        return object_refs
    raise ValueError(f"get() takes an ObjectRef or a list of them, not {_shown(object_refs)}.")


def put(value: R, *, _owner: ActorHandle[Any] | None = None) -> ObjectRef[R]:
    """Store a value and return a ref to it. Give large values that several tasks use this way: they are stored once.

    Args:
        value: anything that can be pickled.
        _owner: the actor that shall own the object, so that it outlives this process.

    Raises:
        TypeError: the value is an ObjectRef, or cannot be pickled.
        ObjectStoreFullError: there is no room for it, even after spilling.
    """
    if isinstance(value, ObjectRef):
        raise TypeError(
            "put() of an ObjectRef is not allowed, as it is a ref already: pass it on, or put a list with it."
        )
    if _owner is not None and not isinstance(_owner, ActorHandle):
        raise TypeError(f"_owner must be the handle of an actor, not {_shown(_owner)}.")
    return runtime.current().put(value, None if _owner is None else _owner._entry)


def wait(
    ray_waitables: list[W], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[W], list[W]]:
    """Wait until `num_returns` of the refs are ready, that is, their tasks have ended, whether well or not.

    Args:
        ray_waitables: ObjectRefs, and ObjectRefGenerators, which are ready when they have a next item.
        num_returns: how many to wait for.
        timeout: seconds to wait at most; 0 does not wait; None waits without limit.
        fetch_local: also bring the values to this node.

    Returns:
        The ready ones (at most `num_returns`) and the others, both in the order given.

    Raises:
        TypeError: that is not a list of refs, or another argument has the wrong type.
        ValueError: a ref is in it twice, `num_returns` is not between 1 and their number, or `timeout` is negative.
    """
    refs = ray_waitables
    _check_waitables(refs)
    if timeout is not None:
        timeout = _seconds("wait", timeout)
    if not isinstance(num_returns, int | SupportsIndex):  # the latter for the numbers of numpy, and slow
        raise TypeError(f"num_returns of wait() must be an int, not {_shown(num_returns)}.")
    if not refs:
        return [], []
    if num_returns < 1 or num_returns > len(refs):
        raise ValueError(
            f"num_returns must be between 1 and the number of refs, {len(refs)}, but {num_returns} was given."
        )
    return runtime.current().wait(refs, int(num_returns), timeout, fetch_local)


def _check_waitables(refs: Any) -> None:
    if isinstance(refs, ObjectRef | ObjectRefGenerator):
        raise TypeError("wait() takes a list of refs, not a single one: use wait([ref]).")
    if not isinstance(refs, list):
        raise TypeError(f"wait() takes a list of refs, not {_shown(refs)}.")
    kinds = set(map(type, refs))
    if not kinds <= _WAITABLE:
        for ref in refs:
            if not isinstance(ref, ObjectRef | ObjectRefGenerator):
                raise TypeError(f"wait() was given a list with {_shown(ref)} in it: every item must be an ObjectRef.")
    # By id where all are refs: hashing refs themselves runs Python code for each, and lists here can be long.
    different = len(set(map(_id_of, refs)) if kinds == {ObjectRef} else set(refs))
    if different != len(refs):
        raise ValueError("wait() was given a ref twice: it takes a list of different refs.")


def cancel(
    ray_waitable: ObjectRef[Any] | ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True
) -> None:
    """Cancel the task that makes a ref; `get` of it then raises TaskCancelledError. No effect on finished tasks.

    Args:
        ray_waitable: what `.remote()` returned.
        force: end the worker that runs the task instead of raising KeyboardInterrupt in it. Not for actors.
        recursive: also cancel the tasks that the task started.

    Raises:
        TypeError: it is not a ref.
        ValueError: `force` for a call of an actor.
    """
    if not isinstance(ray_waitable, ObjectRef | ObjectRefGenerator):
        raise TypeError(
            f"cancel() takes a ref that .remote() returned, not {_shown(ray_waitable)}. To end an actor, use kill()."
        )
    runtime.current().cancel(ray_waitable, force, recursive)


def kill(actor: ActorHandle[Any], *, no_restart: bool = True) -> None:
    """End an actor at once; calls that are not finished fail with ActorDiedError.

    Args:
        actor: its handle.
        no_restart: for good; otherwise `max_restarts` applies.

    Raises:
        ValueError: it is not a handle.
    """
    if not isinstance(actor, ActorHandle):
        raise ValueError(  # noqa: TRY004 - as in Ray
            f"kill() takes the handle of an actor, not {_shown(actor)}. To end a task, use cancel()."
        )
    runtime.current().kill(actor._entry, no_restart)


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """A handle to the live actor of that name.

    Args:
        name: what `.options(name=...)` said.
        namespace: where the name was given; None: the job's own.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(name, str):
        raise TypeError(f"The name of an actor is a str, not {_shown(name)}.")
    if not name:
        raise ValueError("get_actor() needs a name that is not empty.")
    return ActorHandle(runtime.current().get_actor(name, namespace))


def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, str]]:
    """Names of the living actors that have one.

    Args:
        all_namespaces: not only those of the job's namespace; then each is {"namespace": ..., "name": ...}.
    """
    named = runtime.current().list_named_actors(all_namespaces)
    return named if all_namespaces else [actor["name"] for actor in named]


def nodes() -> list[dict[str, Any]]:
    """The nodes of the cluster, dead ones too: NodeID, Alive, NodeManagerAddress, Resources, Labels and more."""
    return runtime.current().state("nodes")


def cluster_resources() -> dict[str, float]:
    """All resources of all live nodes together."""
    return runtime.current().state("cluster_resources")


def available_resources() -> dict[str, float]:
    """What of them is free now. Resources that are all in use are absent."""
    return runtime.current().state("available_resources")


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """What ran when and where, in the format of chrome://tracing.

    Args:
        filename: a file to write it to, in JSON; None: return it.
    """
    events = runtime.current().state("timeline")
    if filename is None:
        return events
    Path(filename).write_text(json.dumps(events), encoding="utf-8")
    return None


def _seconds(function: str, timeout: Any) -> float:
    if not isinstance(timeout, int | float):
        if not isinstance(timeout, Real):  # numbers of numpy are such
            raise TypeError(f"{function}() takes a timeout in seconds, or None, not {_shown(timeout)}.")
        timeout = float(timeout)
    if not timeout >= 0:
        raise ValueError(f"{function}() takes a timeout of 0 seconds or more, or None (no limit), not {timeout}.")
    return timeout


def _warn_if_blocking_a_loop(current: runtime.Runtime) -> None:
    """Warn once per actor about a blocking get in an async actor: nothing else of the actor runs meanwhile."""
    if sys.modules["asyncio"]._get_running_loop() is None:  # noqa: SLF001 - asyncio documents it, for loops
        return
    entry = current.context().actor
    if entry is None or not entry.descriptor.is_async or entry.actor_id in _warned_of_blocking:
        return
    _warned_of_blocking.add(entry.actor_id)
    logger.warning(
        "get() blocks the event loop of the async actor %s: none of its other calls run meanwhile. "
        "Use `await ref`, or `await asyncio.gather(*refs)`, in async methods.",
        entry.descriptor.name,
    )


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'} (of type {type(value).__name__})"


_SHOWN = 100
