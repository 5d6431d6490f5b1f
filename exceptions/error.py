"""The root of the tree, and how an error names the place it speaks of."""

from typing import Any

from .rebuild import reduce_without_constructor


class RayError(Exception):
    """Any error that Limelight raises about running things elsewhere. Catch it to catch them all.

    Every error of the tree pickles with all its fields, whatever its constructor asks for.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_without_constructor(self)


LimelightError = RayError


def describe_place(node_id: str | None = None, ip: str | None = None, pid: int | None = None) -> str:
    """Name a process for people: "pid 12 on node 3f2a91c0 (10.0.0.4)"; "" when nothing is known.

    Args:
        node_id: the node's id in hexadecimal; its first 12 digits are shown.
        ip: the node's address.
        pid: the process's id on that node.
    """
    node = ""
    if node_id and ip:
        node = f"node {node_id[:12]} ({ip})"
    elif node_id or ip:
        node = f"node {node_id[:12] if node_id else ip}"
    if pid and node:
        return f"pid {pid} on {node}"
    return f"pid {pid}" if pid else node
