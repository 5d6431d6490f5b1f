"""Lazy graphs of tasks and actor calls: `bind` notes a call down, `execute` makes all that a result needs.

    with InputNode() as x:
        graph = add.bind(square.bind(x), x)
    get(graph.execute(3)), get(graph.execute(4))

Public as `limelight.dag`. Each execution makes each node at most once, however many others use it, with a task or an
actor of its own; a node among arguments, at the top or in lists, tuples, sets and dicts, stands for its result.
"""

from .call_node import ClassMethodNode, ClassNode, FunctionNode
from .input_node import InputAttributeNode, InputNode
from .multi_output_node import MultiOutputNode
from .node import DAGNode

__all__ = [
    "ClassMethodNode",
    "ClassNode",
    "DAGNode",
    "FunctionNode",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
]
