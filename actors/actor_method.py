"""Methods of actor handles: `handle.method.remote(...)` sends a call."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, overload

from . import option_rule, runtime
from .actor_descriptor import METHOD_OPTIONS, ActorDescriptor, MethodDescriptor
from .options import MethodOptions, method_options

if TYPE_CHECKING:
    from .dag.call_node import ClassMethodNode
    from .runtime import ActorEntry

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class ActorMethod:
    """A method of one actor. Holds the actor as a handle does. Thread-safe."""

    __slots__ = ("_descriptor", "_entry", "_least", "_most", "_name", "_options", "_unwrap")

    def __init__(self, entry: "ActorEntry", descriptor: MethodDescriptor, options: MethodOptions) -> None:
        self._entry = entry
        self._descriptor = descriptor
        self._name = descriptor.name
        self._options = options
        self._least = descriptor.signature.least
        self._most = descriptor.signature.most
        self._unwrap = options.num_returns in (1, "dynamic")

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Send the call; any argument may be an ObjectRef, and the method gets its value.

        Returns:
            An ObjectRef; for `num_returns=0` None, for more than one a list; for a generator an ObjectRefGenerator.

        Raises:
            TypeError: the method does not accept these arguments, or one of them cannot be pickled.
            PendingCallsLimitExceeded: as many calls as the actor's `max_pending_calls` are unfinished.
        """
        if kwargs or not self._least <= len(args) <= self._most:
            self._descriptor.signature.check(f"{self._entry.descriptor.name}.{self._name}", args, kwargs)
        refs = (runtime._runtime or runtime.current()).call(self._entry, self._name, args, kwargs, self._options)
        if self._unwrap:
            return refs[0]  # pyright: ignore[reportIndexIssue] - a list, for these num_returns
        return refs or None

    def options(self, **options: Any) -> "ActorMethod":
        """This method with other options; those not given stay.

        Raises:
            ValueError: an option does not exist or its value is not allowed.
            TypeError: an option's value has the wrong type.
        """
        descriptor = self._descriptor
        name = f"{self._entry.descriptor.name}.{self._name}"
        resolved = method_options({**descriptor.given, **options}, generator=descriptor.is_generator, method=name)
        self._entry.descriptor.check_group(self._name, resolved.concurrency_group)
        return ActorMethod(self._entry, descriptor, resolved)

    def bind(self, /, *args: Any, **kwargs: Any) -> "ClassMethodNode":
        """Note the call down as a node of a lazy graph: see `limelight.dag`. Errors as of `remote`."""
        from .dag.call_node import ClassMethodNode

        self._descriptor.signature.check(f"{self._entry.descriptor.name}.{self._name}", args, kwargs)
        return ClassMethodNode(self, args, kwargs)

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse, and say what to do instead."""
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of handle.{self._name}(...), use "
            f"limelight.get(handle.{self._name}.remote(...))."
        )

    def __repr__(self) -> str:
        return f"<method {self._entry.descriptor.name}.{self._name} of actor {self._entry.actor_id.hex()}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorMethod, (_Held(self._entry), self._descriptor, self._options)


class _Held:
    """Pickles as the actor that a method holds."""

    def __init__(self, entry: "ActorEntry") -> None:
        self._entry = entry

    def __reduce__(self) -> tuple[Any, ...]:
        return restore_entry, runtime.current().export_actor(self._entry)


def restore_entry(*exported: Any) -> "ActorEntry":
    """Make what a runtime keeps for an actor from its pickled form."""
    return runtime.current().import_actor(*exported)


def bind_method(entry: "ActorEntry", name: str) -> ActorMethod:
    """A method of an actor.

    Raises:
        AttributeError: its class has no such method; names the nearest.
    """
    descriptor: ActorDescriptor = entry.descriptor
    found = descriptor.methods.get(name)
    if found is None:
        found = _BUILT_IN.get(name)
    if found is None:
        problem = f"Actors of class {descriptor.name} have no method {name!r}"
        known = [known for known in descriptor.methods if not known.startswith("__")]
        error = AttributeError(option_rule.unknown_name(problem, name, known))
        error.name = name
        raise error
    return ActorMethod(entry, found, found.options)


_BUILT_IN = {name: MethodDescriptor(name) for name in ("__ray_ready__", "__ray_call__", "__ray_terminate__")}


@overload
def method(function: F, /) -> F: ...
@overload
def method(**options: Any) -> Callable[[F], F]: ...
def method(*functions: Any, **options: Any) -> Any:
    """Give a method of an actor's class options of its own: `@method(num_returns=2)`.

    Args:
        functions: the method, where this is used as a bare decorator.
        options: num_returns, concurrency_group, max_task_retries, retry_exceptions, enable_task_events,
            tensor_transport, _generator_backpressure_num_objects.

    Raises:
        ValueError: an option does not exist or its value is not allowed.
        TypeError: an option's value has the wrong type.
    """
    option_rule.check("methods", option_rule.METHOD_RULES, options)
    if functions:
        return functions[0]

    def decorate(function: F) -> F:
        setattr(function, METHOD_OPTIONS, options)
        return function

    return decorate
