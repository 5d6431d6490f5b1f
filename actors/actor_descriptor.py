"""What is known of an actor's class without having the class: names, signatures, options of its methods."""

import inspect
import os
from typing import Any

import msgspec

from .options import MethodOptions, method_options
from .signature import ANY_CALL, CallSignature, signature_of
from .task import is_generator

METHOD_OPTIONS = "__limelight_method_options__"
"""Attribute of a function that `method` sets: the options that were given."""


class MethodDescriptor(msgspec.Struct, frozen=True):
    """One method of an actor's class.

    Attributes:
        name: its name.
        signature: what it accepts, without self.
        given: options given with `method`.
        options: the same, resolved.
        is_async: a coroutine function or an asynchronous generator function.
        is_generator: it yields, synchronously or not.
    """

    name: str
    signature: CallSignature = ANY_CALL
    given: dict[str, Any] = {}
    options: MethodOptions = MethodOptions()
    is_async: bool = False
    is_generator: bool = False


class ActorDescriptor:
    """One class that actors are made of. Processes that only have handles have it without the class itself.

    Attributes:
        cls: the user's class; None where only handles are used.
        name: its qualified name, as errors and the state API show it.
        module: the name of its module.
        key: 16 random bytes: the same in every process that gets this descriptor, so that each needs the code once.
        methods: its methods by name; static and class methods too, properties not.
        constructor: what `__init__` accepts.
        groups: names of its concurrency groups.
        is_async: it has a coroutine method or asynchronous generator method: all its methods run in one event loop.
        pickled: whatever the runtime keeps for it, such as the pickled class; None at first.
    """

    __slots__ = (
        "__weakref__",
        "cls",
        "constructor",
        "groups",
        "is_async",
        "key",
        "methods",
        "module",
        "name",
        "pickled",
    )

    def __init__(
        self,
        cls: type | None,
        name: str,
        module: str,
        key: bytes,
        methods: dict[str, MethodDescriptor],
        constructor: CallSignature,
        is_async: bool,
        groups: frozenset[str],
    ) -> None:
        self.cls = cls
        self.name = name
        self.module = module
        self.key = key
        self.methods = methods
        self.constructor = constructor
        self.is_async = is_async
        self.groups = groups
        self.pickled: Any = None

    @classmethod
    def of(cls, user_class: type, groups: frozenset[str] = frozenset()) -> "ActorDescriptor":
        """Inspect a class.

        Raises:
            ValueError: a method is in a concurrency group that is not in `groups`, or its options are wrong.
            TypeError: the options of a method have wrong types.
        """
        methods = {name: _method(user_class, name, function) for name, function in _functions(user_class).items()}
        made = cls(
            user_class,
            user_class.__qualname__.rsplit("<locals>.", maxsplit=1)[-1],
            user_class.__module__,
            os.urandom(16),
            methods,
            _constructor(user_class),
            any(method.is_async for method in methods.values()),
            groups,
        )
        for method in methods.values():
            made.check_group(method.name, method.options.concurrency_group)
        return made

    def check_group(self, method: str, group: str) -> None:
        """Raise ValueError when the class has no such concurrency group ("" is the default one)."""
        if group and group not in self.groups:
            known = ", ".join(sorted(self.groups)) or "none"
            raise ValueError(
                f"{self.name}.{method} is to run in the concurrency group {group!r}, which the class does not have. "
                f"Give it in @actor(concurrency_groups={{{group!r}: <threads>}}); the class has: {known}."
            )

    def outline(self) -> "ActorDescriptor":
        """The same without the class: small, and safe to unpickle where the class's module is not installed."""
        return ActorDescriptor(
            None, self.name, self.module, self.key, self.methods, self.constructor, self.is_async, self.groups
        )

    def __repr__(self) -> str:
        return f"ActorDescriptor({self.module}.{self.name})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ActorDescriptor, (
            self.cls,
            self.name,
            self.module,
            self.key,
            self.methods,
            self.constructor,
            self.is_async,
            self.groups,
        )


def _functions(cls: type) -> dict[str, Any]:
    """All that can be called on an instance: own and inherited functions, static and class methods."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is object:
            continue
        for name, attribute in vars(base).items():
            if inspect.isroutine(attribute) or isinstance(attribute, staticmethod | classmethod):
                found[name] = attribute
            else:
                found.pop(name, None)  # a subclass hid the method behind something else
    return found


def _method(cls: type, name: str, attribute: Any) -> MethodDescriptor:
    function = inspect.unwrap(getattr(attribute, "__func__", attribute))
    given: dict[str, Any] = getattr(attribute, METHOD_OPTIONS, None) or getattr(function, METHOD_OPTIONS, {})
    generator = is_generator(function)
    return MethodDescriptor(
        name,
        signature_of(getattr(attribute, "__func__", attribute), bound=not isinstance(attribute, staticmethod)),
        given,
        method_options(given, generator=generator, method=f"{cls.__name__}.{name}"),
        inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function),
        generator,
    )


def _constructor(cls: type) -> CallSignature:
    if cls.__init__ is object.__init__:
        return signature_of(cls.__new__, bound=True) if cls.__new__ is not object.__new__ else _NO_ARGUMENTS
    return signature_of(cls.__init__, bound=True)


_NO_ARGUMENTS = CallSignature(text="()", var_positional=False, var_keyword=False, most=0)
