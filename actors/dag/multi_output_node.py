"""A graph with several results."""

from collections.abc import Sequence
from typing import Any

from .node import DAGNode, GraphRun


class MultiOutputNode(DAGNode):
    """Several results of one execution: `MultiOutputNode([a, b]).execute(...)` returns the list of them."""

    def __init__(self, outputs: Sequence[DAGNode]) -> None:
        for output in outputs:
            if not isinstance(output, DAGNode):
                raise TypeError(f"MultiOutputNode takes a list of nodes, as bind() returns them; not {output!r}.")
        super().__init__(outputs)

    def _run(self, run: GraphRun) -> list[Any]:
        return [run.made(output) for output in self._needs]

    def __repr__(self) -> str:
        return f"MultiOutputNode({list(self._needs)!r})"
