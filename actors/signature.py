"""What a callable accepts, in a form that is cheap to check and to send: no defaults, no annotations."""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_UNLIMITED = 1 << 62


class CallSignature(msgspec.Struct, frozen=True):
    """The shape of a call.

    Attributes:
        text: the signature for people, "(a, b=2, *, c)".
        positional: names of the parameters that may be given by position, in order.
        required: how many of `positional` have no default (they come first).
        positional_only: how many of `positional` cannot be given by name (they come first).
        keyword_only: name of each keyword-only parameter, and whether it must be given.
        var_positional: there is `*args`.
        var_keyword: there is `**kwargs`.
        least: fewest positional arguments of a call without keywords; more than `most` where no such call is right.
        most: most positional arguments.
    """

    text: str = "(*args, **kwargs)"
    positional: tuple[str, ...] = ()
    required: int = 0
    positional_only: int = 0
    keyword_only: dict[str, bool] = {}
    var_positional: bool = True
    var_keyword: bool = True
    least: int = 0
    most: int = _UNLIMITED

    def check(self, name: str, args: Collection[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError, with the signature, when the call is wrong."""
        problem = self._problem(len(args), kwargs)
        if problem:
            raise TypeError(f"{name}() {problem}. Its signature is {name}{self.text}.")

    def _problem(self, given: int, kwargs: Mapping[str, Any]) -> str:
        if given > len(self.positional) and not self.var_positional:
            return f"got too many positional arguments: {given}, not {len(self.positional)} at most"
        for index, name in enumerate(self.positional):
            by_name = name in kwargs and index >= self.positional_only
            if index < given and by_name:
                return f"got multiple values for argument {name!r}"
            if given <= index < self.required and not by_name:
                return f"is missing a required argument: {name!r}"
        for name, required in self.keyword_only.items():
            if required and name not in kwargs:
                return f"is missing a required keyword-only argument: {name!r}"
        if self.var_keyword:
            return ""
        known = {*self.positional[self.positional_only :], *self.keyword_only}
        unknown = next((name for name in kwargs if name not in known), None)
        return "" if unknown is None else f"got an unexpected keyword argument {unknown!r}"


ANY_CALL = CallSignature()
"""The signature of what cannot be inspected: everything is accepted."""


def signature_of(function: Callable[..., Any], *, bound: bool = False) -> CallSignature:
    """The signature of a function; `bound` leaves out the first parameter (self), which the caller does not give."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins and C types have none
        return ANY_CALL
    parameters = list(signature.parameters.values())
    if bound and parameters and parameters[0].kind in _POSITIONAL:
        parameters = parameters[1:]
    positional = [p for p in parameters if p.kind in _POSITIONAL]
    required = sum(p.default is p.empty for p in positional)
    keyword_only = {p.name: p.default is p.empty for p in parameters if p.kind is p.KEYWORD_ONLY}
    var_positional = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    most = _UNLIMITED if var_positional else len(positional)
    plain = [p.replace(annotation=p.empty) for p in parameters]
    return CallSignature(
        text=str(inspect.Signature(plain)),
        positional=tuple(p.name for p in positional),
        required=required,
        positional_only=sum(p.kind is p.POSITIONAL_ONLY for p in positional),
        keyword_only=keyword_only,
        var_positional=var_positional,
        var_keyword=any(p.kind is p.VAR_KEYWORD for p in parameters),
        least=_UNLIMITED + 1 if any(keyword_only.values()) else required,
        most=most,
    )
