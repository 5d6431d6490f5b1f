"""Nodes that stand for what `execute` is given."""

from typing import Any, NoReturn, Self

from .node import DAGNode, GraphRun


class InputNode(DAGNode):
    """The argument of `execute`: `with InputNode() as x: graph = f.bind(x)`.

    Of several arguments, `x[0]` is the first and `x.name` the one given as `name=`. Of one argument, these are its
    items and attributes.
    """

    def __init__(self) -> None:
        super().__init__(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """A graph can be executed inside and outside."""

    def __getitem__(self, key: Any) -> "InputAttributeNode":
        return InputAttributeNode(self, key, is_item=True)

    def __iter__(self) -> NoReturn:
        """Refuse: how many items there will be is not known, and `__getitem__` would give them without end."""
        raise TypeError("An InputNode cannot be iterated over: take its parts by index or name.")

    def __getattr__(self, name: str) -> "InputAttributeNode":
        if name.startswith("_"):
            raise AttributeError(name)
        return InputAttributeNode(self, name, is_item=False)

    def _run(self, run: GraphRun) -> Any:
        if run.kwargs or len(run.args) != 1:
            raise TypeError(
                f"This graph uses its input as one value, but execute() was given {len(run.args)} positional and "
                f"{len(run.kwargs)} keyword arguments: give it one, or use input[0] and input.name in the graph."
            )
        return run.args[0]

    def __repr__(self) -> str:
        return "InputNode()"


class InputAttributeNode(DAGNode):
    """A part of what `execute` is given."""

    def __init__(self, whole: InputNode, key: Any, *, is_item: bool) -> None:
        super().__init__(())
        self._whole = whole
        self._key = key
        self._is_item = is_item

    def _run(self, run: GraphRun) -> Any:
        if len(run.args) == 1 and not run.kwargs:
            only = run.args[0]
            return only[self._key] if self._is_item else getattr(only, self._key)
        try:
            return run.args[self._key] if isinstance(self._key, int) else run.kwargs[self._key]
        except (IndexError, KeyError):
            raise TypeError(f"execute() was not given {self!r}, which the graph uses.") from None

    def __repr__(self) -> str:
        return f"{self._whole!r}[{self._key!r}]" if self._is_item else f"{self._whole!r}.{self._key}"
