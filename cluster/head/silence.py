"""Which nodes have fallen silent, as far as the head was listening. Free of I/O and clocks.

Silence is counted in looks of the head, not in seconds: a head that was stopped, starved of its CPU or busy for a while
looked less often, so the time that it did not listen counts for no node. Sources of the idea: Chandra and Toueg,
"Unreliable failure detectors for reliable distributed systems", 1996 (a detector may only err by suspecting); SWIM's
"local health" (Dadgar et al., "Lifeguard", 2018) for distrusting oneself first.
"""

LOOK_S = 0.25
"""Seconds between the head's looks."""

SILENCE_S = 5.0
"""A node that has said nothing for so long is given up. Nodes report every second even when nothing changes."""


class Silence:
    """Counts, for each node, the looks since it was last heard. Not thread-safe.

    Args:
        patience: seconds of silence after which a node is given up.
        look: seconds between two looks; when one is late, the time that it came too late counts for nobody.
    """

    def __init__(self, patience: float = SILENCE_S, look: float = LOOK_S) -> None:
        self._look = look
        self._most = max(1, round(patience / look))
        self._looks = 0
        self._heard: dict[str, int] = {}

    def heard(self, node_id: str) -> None:
        """The node has said something."""
        self._heard[node_id] = self._looks

    def awaited(self, node_id: str, seconds: float) -> None:
        """The node has not spoken yet, and may take so much longer than usual to do so."""
        self._heard[node_id] = self._looks + round(seconds / self._look)

    def since(self, node_id: str) -> float:
        """How many seconds of those that this head was listening the node has been silent."""
        return max(0, self._looks - self._heard.get(node_id, self._looks)) * self._look

    def forget(self, node_id: str) -> None:
        """The node is gone."""
        self._heard.pop(node_id, None)

    def look(self) -> list[tuple[str, float]]:
        """Look around; to be called every `look` seconds.

        Returns:
            Nodes that have said nothing for too long, and how many seconds of that the head was listening.
        """
        self._looks += 1
        return [
            (node_id, (self._looks - last) * self._look)
            for node_id, last in self._heard.items()
            if self._looks - last > self._most
        ]
