"""What all nodes of a lazy graph are, and one execution of a graph."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, cast


class DAGNode:
    """A result that is not made yet. What was bound never changes: it can be executed again, from any thread.

    Public names of some nodes are the user's, for methods and parts of the input: so all others are private.

    Args:
        needs: the nodes that are made before this one, in that order.
    """

    def __init__(self, needs: Sequence["DAGNode"]) -> None:
        self._needs = tuple(needs)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Make this node's result, and what it needs.

        Args:
            args: what an `InputNode` of the graph stands for: the value itself where there is just one and no keyword.
            kwargs: the same, by name.

        Returns:
            What `.remote()` would return: a ref, or for an actor its handle.
        """
        return GraphRun(args, kwargs).result(self)

    def _run(self, run: "GraphRun") -> Any:
        """Make the result; those of all nodes that are needed are there."""
        raise NotImplementedError

    def experimental_compile(self, **_options: Any) -> NoReturn:
        """Ray's compiled graphs, which Limelight does not have."""
        raise NotImplementedError("Limelight has no compiled graphs: use execute(), which calls the same actors.")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} is a node of a lazy graph, and not a value: give it to bind(), or call execute() and pass on "
            "the ref that returns. Arguments of bind() may hold nodes in lists, tuples, sets and dicts only."
        )


class GraphRun:
    """One execution of a graph: its input, and the results so far."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self._made: dict[DAGNode, Any] = {}

    def result(self, wanted: DAGNode) -> Any:
        """Make a node, and before it what it needs. Without recursion: graphs may be deep."""
        stack = [wanted]
        while stack:
            node = stack[-1]
            missing = [needed for needed in node._needs if needed not in self._made]  # noqa: SLF001 - see DAGNode
            if missing and node not in self._made:
                stack += reversed(missing)
                continue
            if node not in self._made:
                self._made[node] = node._run(self)  # noqa: SLF001 - see DAGNode
            stack.pop()
        return self._made[wanted]

    def made(self, node: DAGNode) -> Any:
        """The result of a node that has been made."""
        return self._made[node]

    def fill(self, value: Any) -> Any:
        """The value with results in the places of nodes."""
        return _replaced(value, self.made)


def nodes_in(value: Any) -> Iterator[DAGNode]:
    """All nodes in an argument."""
    if isinstance(value, DAGNode):
        yield value
    elif type(value) in _SEQUENCES:
        for item in value:
            yield from nodes_in(item)
    elif type(value) is dict:
        for item in cast("dict[Any, Any]", value).values():
            yield from nodes_in(item)


def _replaced(value: Any, result: Callable[[DAGNode], Any]) -> Any:
    if isinstance(value, DAGNode):
        return result(value)
    if type(value) in _SEQUENCES:
        return type(value)(_replaced(item, result) for item in value)
    if type(value) is dict:
        return {key: _replaced(item, result) for key, item in cast("dict[Any, Any]", value).items()}
    return value


_SEQUENCES = (list, tuple, set, frozenset)
