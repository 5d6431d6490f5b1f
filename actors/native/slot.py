"""Stands for an argument that is passed by ref."""

from typing import Any

NO_ARGS = b""
"""What stands for the pickle of `((), {})`: most no-op calls have no arguments, and need none."""


class Slot:
    """The `index`-th dependency of a call; replaced by its value before the user's code sees the arguments."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        return Slot, (self.index,)


def split(
    args: tuple[Any, ...], kwargs: dict[str, Any], ref_type: type
) -> "tuple[tuple[Any, ...], dict[str, Any], list[Any] | None]":
    """Replace refs at the top level by slots; returns the new arguments and the refs (None: there were none)."""
    for arg in args:
        if type(arg) is ref_type:
            break
    else:
        if not kwargs or not any(type(arg) is ref_type for arg in kwargs.values()):
            return args, kwargs, None
    refs: list[Any] = []

    def slot(arg: Any) -> Any:
        if type(arg) is not ref_type:
            return arg
        refs.append(arg)
        return Slot(len(refs) - 1)

    return tuple(slot(arg) for arg in args), {name: slot(arg) for name, arg in kwargs.items()}, refs


def join(args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the dependencies' values where their slots are."""

    def value(arg: Any) -> Any:
        return values[arg.index] if type(arg) is Slot else arg

    return tuple(value(arg) for arg in args), {name: value(arg) for name, arg in kwargs.items()}
