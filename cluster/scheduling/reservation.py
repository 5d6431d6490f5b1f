"""A node's answers to prepares of placement groups: at once, or when room was made within the time given."""

from .bundle import BundleTable
from .lease_message import Reserved, ReservePrepare
from .resources import total_of


class Reservations:
    """The prepares that wait for room. Not thread-safe."""

    def __init__(self, node_id: str, bundles: BundleTable) -> None:
        self._node_id = node_id
        self._bundles = bundles
        self._waiting: dict[bytes, tuple[ReservePrepare, float]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[ReservePrepare]:
        """In the order they came."""
        return [event for event, _ in self._waiting.values()]

    def add(self, event: ReservePrepare, now: float, *, draining: bool) -> list[Reserved]:
        """Take in a prepare; answered here only where the answer is no already."""
        if draining or self._bundles.is_cancelled(event.group_id, event.attempt):
            text = f"node {self._node_id} is draining" if draining else "this attempt was cancelled before"
            return [Reserved(event.group_id, event.attempt, ok=False, text=text)]
        known = self._waiting.get(event.group_id)
        if known is None or known[0].attempt < event.attempt:
            self._waiting[event.group_id] = (event, now + event.patience)
        return []

    def drop(self, group_id: bytes, attempt: int) -> None:
        """The attempt, or a later one, was cancelled."""
        known = self._waiting.get(group_id)
        if known is not None and known[0].attempt <= attempt:
            del self._waiting[group_id]

    def settle(self, now: float, *, draining: bool) -> tuple[list[Reserved], set[str]]:
        """Hold what can be held now. Returns the answers, and the kinds of resources kept for those that still wait."""
        answers: list[Reserved] = []
        kept: set[str] = set()
        for group_id, (event, deadline) in list(self._waiting.items()):
            ok = self._bundles.prepare(group_id, event.attempt, event.bundles)
            if not ok and now < deadline and not draining:
                kept.update(total_of(event.bundles.values()).units())
                continue
            del self._waiting[group_id]
            text = "" if ok else f"node {self._node_id} had no room in time"
            answers.append(Reserved(group_id, event.attempt, ok, text))
        return answers, kept
