"""Counts by node that only grow, with their sum: what was sent where, told by totals, so that repeats do nothing."""


class Tally:
    """Totals by node. Not thread-safe."""

    __slots__ = ("by_node", "sum")

    def __init__(self) -> None:
        self.by_node: dict[str, int] = {}
        self.sum = 0

    def add(self, node_id: str, count: int) -> int:
        """Count more for the node; returns its new total."""
        total = self.by_node[node_id] = self.by_node.get(node_id, 0) + count
        self.sum += count
        return total

    def reach(self, node_id: str, total: int) -> int:
        """Take in a total that was told; returns by how much it is more than known (0 for old news)."""
        more = max(0, total - self.by_node.get(node_id, 0))
        if more:
            self.add(node_id, more)
        return more
