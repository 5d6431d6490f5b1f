"""Placement groups that have no reservation: which is tried next, and which an event concerns."""

import heapq
from itertools import count

from .group_table import GroupRecord


class Waiting:
    """A group that waits: since when, when it is next tried, and when the words for why it waits were looked for."""

    __slots__ = ("delay", "explained", "group_id", "next_try", "since")

    def __init__(self, group_id: bytes, now: float, delay: float) -> None:
        self.group_id = group_id
        self.since = self.next_try = now
        self.explained = float("-inf")
        self.delay = delay


class GroupQueue:
    """Groups by the time of their next try, each later after the one before. Not thread-safe.

    Args:
        first: seconds after a group's first try until the next.
        most: seconds between tries at most; they double up to that.
    """

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._waiting: dict[bytes, Waiting] = {}
        self._heap: list[tuple[float, int, Waiting]] = []
        self._order = count()

    def add(self, group_id: bytes, now: float, *, backed_off: bool = False) -> None:
        """Have a group wait, tried at once, or (`backed_off`) after the first delay."""
        waiting = self._waiting[group_id] = Waiting(group_id, now, self._first)
        if backed_off:
            self._back_off(waiting, now)
        self._push(waiting)

    def remove(self, group_id: bytes) -> None:
        """It waits no more."""
        self._waiting.pop(group_id, None)

    def take_due(self, now: float) -> Waiting | None:
        """A group that is to be tried now; it goes on waiting, until later, unless it is removed."""
        due = self.next_try()
        if due is None or due > now:
            return None
        waiting = heapq.heappop(self._heap)[2]
        self._back_off(waiting, now)
        self._push(waiting)
        return waiting

    def next_try(self) -> float | None:
        """When a group is next to be tried."""
        while self._heap and self._waiting.get(self._heap[0][2].group_id) is not self._heap[0][2]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _push(self, waiting: Waiting) -> None:
        heapq.heappush(self._heap, (waiting.next_try, next(self._order), waiting))

    def _back_off(self, waiting: Waiting, now: float) -> None:
        waiting.next_try = now + waiting.delay
        waiting.delay = min(2 * waiting.delay, self._most)


class GroupIndex:
    """Groups that are not removed, by owner and by the nodes they have, or ask for, bundles on. Not thread-safe."""

    def __init__(self) -> None:
        self._owned: dict[str, dict[bytes, GroupRecord]] = {}
        self._at_node: dict[str, dict[bytes, GroupRecord]] = {}

    def add(self, record: GroupRecord) -> None:
        """A group was asked for."""
        self._owned.setdefault(record.spec.owner, {})[record.spec.group_id] = record

    def remove(self, record: GroupRecord) -> None:
        """A group was removed; it has no nodes any more."""
        _drop(self._owned, record.spec.owner, record.spec.group_id)

    def on_nodes(self, record: GroupRecord) -> None:
        """The group has bundles, or asks for them, on more nodes than before."""
        for node_id in (*record.nodes.values(), *record.preparing.values()):
            self._at_node.setdefault(node_id, {})[record.spec.group_id] = record

    def off_nodes(self, record: GroupRecord, node_ids: "list[str]") -> None:
        """The group is done with some nodes, unless it has other bundles there."""
        for node_id in {*node_ids} - {*record.nodes.values(), *record.preparing.values()}:
            _drop(self._at_node, node_id, record.spec.group_id)

    def owned_by(self, process_id: str) -> list[GroupRecord]:
        """A process's groups."""
        return list(self._owned.get(process_id, {}).values())

    def at_node(self, node_id: str) -> list[GroupRecord]:
        """Groups that have bundles on the node, or ask for them."""
        return list(self._at_node.get(node_id, {}).values())


def _drop(index: dict[str, dict[bytes, GroupRecord]], key: str, group_id: bytes) -> None:
    here = index.get(key, {})
    if here.pop(group_id, None) is not None and not here:
        del index[key]
