"""How often nodes report, so that the head takes a bounded number of reports a second, however many nodes are busy.

Every node may report each second, as its sign of life, and after a quiet second a change at once. What comes sooner
after a node's last report is what a budget bounds: while more comes than that, nodes are told to leave twice as much
time between reports, and half as much again when little comes. So a small cluster, and a large one of which few nodes
are busy, hear of each change soon. A report says which pace its node goes by, so nothing has to be remembered of who
was told what: what is lost is said again, and a head that was restarted knows.
"""

BUDGET = 2_000.0
"""Reports a second, beside one of each node: they take a tenth of a CPU, and ten nodes may send all they ever do."""

SLOWEST = 256
"""The largest factor: with it all that a node has to say waits for its sign of life."""

_WINDOW = 1.0
_LITTLE = 1 / 8
"""Of the budget. Half as much time between reports makes up to six times as many of those that count."""

_CALM = 3
"""So many windows with little must have passed: it takes a second until all nodes go by a new factor."""


class ReportBudget:
    """Counts reports, and finds the factor by which nodes are to lengthen the time between theirs. Not thread-safe.

    Args:
        budget: reports a second beside those that are a second, or more, after their node's last.

    Attributes:
        factor: a power of two.
    """

    def __init__(self, budget: float = BUDGET) -> None:
        self.factor = 1
        self._budget = budget
        self._last: dict[str, float] = {}
        self._began = 0.0
        self._spent = 0.0
        self._calm = 0

    def heard(self, node_id: str, pace: int, now: float) -> bool:
        """A node has reported, and goes by that pace; whether it is to be told another."""
        gap = now - self._last.get(node_id, float("-inf"))
        self._last[node_id] = now
        if now >= self._began + _WINDOW:
            self._calm = self._calm + 1 if self._spent < self._budget * _LITTLE else 0
            self._began, self._spent = now, 0.0
            if self._calm == _CALM:
                self._turn(max(1, self.factor // 2), now)
        if pace >= self.factor:  # others have not heard yet, so what they send does not say that it is too little
            self._spent += max(0.0, 1.0 - gap / _WINDOW)
            if self._spent > self._budget * _WINDOW:
                self._turn(min(SLOWEST, 2 * self.factor), now)
        return pace != self.factor

    def forget(self, node_id: str) -> None:
        """The node is gone."""
        self._last.pop(node_id, None)

    def _turn(self, factor: int, now: float) -> None:
        self.factor, self._began, self._spent, self._calm = factor, now, 0.0, 0
