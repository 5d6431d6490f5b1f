"""Actors: what `actor` makes of a class, and the handles through which actors are called.

Also public as the module `limelight.actor`, which is the decorator `actor` as well.
"""

import inspect
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar, overload

from . import runtime
from .actor_descriptor import ActorDescriptor
from .actor_method import ActorMethod, bind_method, restore_entry
from .actor_method import method as method  # noqa: PLC0414 - public here too, as in Ray
from .identifier import ActorID
from .options import ActorOptions, actor_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dag.call_node import ClassNode
    from .runtime import ActorEntry

P = ParamSpec("P")
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


class ActorClassInheritanceException(TypeError):  # noqa: N818 - Ray's name
    """A class was derived from an actor class. Derive from the plain class, and make the derived class an actor."""


class ActorHandle(Generic[C_co]):
    """A handle to an actor: `handle.method.remote(...)` calls it.

    Handles may be passed to tasks and actors, and pickled within the cluster. An actor that is neither named and
    detached nor held by a handle anywhere ends, after the calls that it was sent. Equal when they are of the same
    actor. Thread-safe.
    """

    def __init__(self, entry: "ActorEntry") -> None:
        self._entry = entry

    if TYPE_CHECKING:
        # What only the type checker sees: names of methods are the user's.
        def __getattr__(self, name: str) -> ActorMethod: ...

    else:

        def __getattr__(self, name: str) -> ActorMethod:
            if name.startswith("__") and name.endswith("__") and not _known(self, name):
                raise AttributeError(name)  # copy, pickle, inspect, numpy probe for these
            bound = bind_method(self._entry, name)
            self.__dict__[name] = bound  # found there without __getattr__ next time
            return bound

    @property
    def _actor_id(self) -> ActorID:
        return ActorID(self._entry.actor_id)

    @property
    def _ray_actor_id(self) -> ActorID:
        return ActorID(self._entry.actor_id)

    def __dir__(self) -> list[str]:
        return [*self._entry.descriptor.methods, "__ray_call__", "__ray_ready__", "__ray_terminate__"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and other._entry.actor_id == self._entry.actor_id

    def __hash__(self) -> int:
        return hash(self._entry.actor_id)

    def __repr__(self) -> str:
        return f"Actor({self._entry.descriptor.name}, {self._entry.actor_id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return restore_actor, runtime.current().export_actor(self._entry)


ActorProxy = ActorHandle
"""Ray's name for a handle whose class is known to the type checker, as here every handle's is."""


class ActorClass(Generic[P, C]):
    """A class whose instances are actors: `A.remote(...)` makes one and returns its handle at once. Thread-safe."""

    def __init__(self, descriptor: ActorDescriptor, given: dict[str, Any], options: ActorOptions) -> None:
        self._descriptor = descriptor
        self._given = given
        self._options = options
        self.__module__ = descriptor.module
        self.__name__ = self.__qualname__ = descriptor.name
        self.__doc__ = descriptor.cls.__doc__ if descriptor.cls else None
        self.__wrapped__ = descriptor.cls

    if TYPE_CHECKING:

        @overload
        def remote(self, /, *args: P.args, **kwargs: P.kwargs) -> ActorHandle[C]: ...
        @overload
        def remote(self, /, *args: Any, **kwargs: Any) -> ActorHandle[C]: ...

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Make an actor; its constructor runs in the background, and any argument may be an ObjectRef.

        Raises:
            TypeError: the constructor does not accept these arguments, or one of them cannot be pickled.
            ActorAlreadyExistsError: the name is taken, and `get_if_exists` was not given.
        """
        signature = self._descriptor.constructor
        if kwargs or not signature.least <= len(args) <= signature.most:
            signature.check(self._descriptor.name, args, kwargs)
        return ActorHandle(runtime.current().create_actor(self._descriptor, args, kwargs, self._options))

    def options(self, **options: Any) -> "ActorClass[P, C]":
        """This class with other options; those not given stay.

        Raises:
            ValueError: an option does not exist or its value is not allowed.
            TypeError: an option's value has the wrong type.
        """
        if "concurrency_groups" in options:
            raise ValueError("concurrency_groups cannot be set in .options(): give it in the decorator.")
        return _actor_class(self._descriptor, {**self._given, **options})

    def __getattr__(self, name: str) -> Any:
        """What the plain class has: its constants, its static methods."""
        if not name.startswith("__") and (cls := self.__dict__.get("__wrapped__")) is not None and hasattr(cls, name):
            return getattr(cls, name)
        raise AttributeError(f"actor class {self.__dict__.get('__name__')} has no attribute {name!r}", name=name)

    def bind(self, /, *args: Any, **kwargs: Any) -> "ClassNode":
        """Note the actor down as a node of a lazy graph: see `limelight.dag`. Errors as of `remote`."""
        from .dag.call_node import ClassNode

        self._descriptor.constructor.check(self._descriptor.name, args, kwargs)
        return ClassNode(self, args, kwargs)

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse, and say what to do instead."""
        name = self._descriptor.name
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of {name}(...), use {name}.remote(...), "
            f"or {name}.__wrapped__(...) for a plain instance."
        )

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> NoReturn:
        name = self._descriptor.name
        raise ActorClassInheritanceException(
            f"A class cannot be derived from the actor class {name}: derive it from the plain class, and make the "
            "derived class an actor (@limelight.actor), too."
        )

    def __repr__(self) -> str:
        return f"<actor class {self._descriptor.module}.{self._descriptor.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _actor_class, (self._descriptor, self._given)


class ActorDecorator(Protocol):
    """What `actor(num_cpus=...)` returns."""

    def __call__(self, cls: "Callable[P, C]", /) -> ActorClass[P, C]:
        """Make the class an actor class."""
        ...


def make_actor(cls: Any, given: dict[str, Any]) -> ActorClass[..., Any]:
    """Make an actor class.

    Raises:
        TypeError: it is not a class; an option's value has the wrong type.
        ValueError: an option does not exist, its value is not allowed, or a method names an unknown concurrency group.
    """
    if not isinstance(cls, type):
        kind = f"{cls!r}, of type {type(cls).__name__}"
        raise TypeError(
            f"An actor is made from a class, not from {kind}; a function is made remote with limelight.task."
        )
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise TypeError(f"{cls.__qualname__} is abstract, so no actor can be made from it: implement {missing}.")
    # Read before it is known whether the class is async; `_actor_class` checks what depends on that.
    groups = actor_options(given, is_async=True).concurrency_groups
    return _actor_class(ActorDescriptor.of(cls, frozenset(groups)), given)


def exit_actor() -> NoReturn:
    """End the actor that this is called in, after this call and without running those behind it.

    The actor is not restarted, and its `atexit` handlers run. Callers get ActorDiedError.

    Raises:
        TypeError: this is not an actor.
    """
    current = runtime.current()
    if current.context().actor_id is None:
        raise TypeError("exit_actor() was called outside an actor: call it in a method of the actor that shall end.")
    current.exit_actor()
    raise AssertionError("Runtime.exit_actor() returned")


def restore_actor(*exported: Any) -> ActorHandle[Any]:
    """Make a handle from its pickled form, in a process of the same cluster."""
    return ActorHandle(restore_entry(*exported))


def _known(handle: ActorHandle[Any], name: str) -> bool:
    return name in handle._entry.descriptor.methods or name.startswith("__ray_")


def _actor_class(descriptor: ActorDescriptor, given: dict[str, Any]) -> ActorClass[..., Any]:
    return ActorClass(descriptor, given, actor_options(given, is_async=descriptor.is_async))
