"""How the tasks of a spread class that come together are shared among the nodes. Free of I/O and clocks."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

PATIENCE_S = 0.1
"""So long a lease leaves alone, from the first one that is there, what others on their way are to have."""


class OnTheWay(NamedTuple):
    """Leases that were asked for and are not there yet.

    Attributes:
        placed: of other nodes, where there was room for them, by process id of the node manager.
        home: the caller's own node.
        at_home: asked of it; some of them may wait for room, anywhere.
        nodes: how many nodes there may be: those that ever had something of this class to do, this one among them.
    """

    placed: Mapping[str, int]
    home: str
    at_home: int
    nodes: int


class Burst:
    """The tasks that were queued while none was being run, and those that came since; and what each node had of them.

    Short tasks would all be done by the first lease before the others are there. So, for `PATIENCE_S`, what makes an
    even share of the burst for each node is kept for those that still owe leases; a node with room for more than that
    has as many as leases of it were asked for. What is beyond is anybody's.

    Attributes:
        until: when nothing is kept any more; None before there is a lease.
        over: nothing is kept any more.
    """

    def __init__(self) -> None:
        self.until: float | None = None
        self.over = True
        self._had: Counter[str] = Counter()
        self._kept: dict[str, int] = {}
        self._kept_in_all = 0

    def begin(self) -> None:
        """The tasks that come now are a burst of their own."""
        self.until = None
        self.over = False
        self._had.clear()

    def look(self, coming: OnTheWay, held: Mapping[str, int], queued: int, now: float) -> None:
        """See what is to be kept for whom.

        Args:
            coming: the leases that are not there yet.
            held: those that are, by node.
            queued: tasks that are not sent.
            now: the time.
        """
        self._kept = {}
        self._kept_in_all = 0
        if self.until is None:
            self.until = now + PATIENCE_S
        elif now >= self.until:
            self.over = True
            return
        nodes = held.keys() | coming.placed.keys()
        at_home = coming.at_home + held.get(coming.home, 0)
        if coming.at_home:
            nodes |= {coming.home}
        missing = max(0, coming.nodes - len(nodes)) if coming.at_home else 0
        even = (self._had.total() + queued) // max(1, len(nodes) + missing)
        for node, owed in coming.placed.items():
            self._keep(node, max(even, owed + held.get(node, 0)))
        if coming.at_home:
            self._keep(coming.home, min(even, at_home))
            self._kept_in_all += missing * even  # no node with room is known for them yet

    def _keep(self, node: str, share: int) -> None:
        kept = share - self._had[node]
        if kept > 0:
            self._kept[node] = kept
            self._kept_in_all += kept

    def may_have(self, node: str, queued: int) -> bool:
        """Whether a lease of this node may have one of so many queued tasks."""
        return self.over or queued > self._kept_in_all - self._kept.get(node, 0)

    def had(self, node: str) -> int:
        """How many tasks leases of this node were given."""
        return self._had[node]

    def give(self, node: str) -> None:
        """A lease of this node is given a task."""
        self._had[node] += 1
        kept = self._kept.get(node)
        if kept:
            self._kept[node] = kept - 1
            self._kept_in_all -= 1

    def take_again(self, node: str) -> None:
        """It could not take it now."""
        self._had[node] -= 1
