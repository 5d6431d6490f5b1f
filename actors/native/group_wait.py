"""Who waits in this process for placement groups: of each group the head is asked once, however many wait.

A program that looks now and then whether its group has room (`wait` with a timeout, again and again) leaves a question
each time, which nobody can take back; the head, and the node that keeps what the head has not answered, would have all.
"""

from collections.abc import Callable

from ...exceptions import RaySystemError
from ...transport.error import TransportError
from ...transport.protocol import Reply
from ..contract import AwaitGroup
from ..serialization import serialize_error
from .entry import FAILED, INLINE, ObjectEntry
from .links import Answer

_MANY = 16
"""From so many on, entries whose refs are gone are looked for, each time that there are twice as many."""


class GroupWaits:
    """On the wire thread.

    Args:
        ask: asks the head.
    """

    def __init__(self, ask: Callable[[AwaitGroup, Answer], None]) -> None:
        self._ask = ask
        self._waiting: dict[bytes, list[tuple[ObjectEntry, bytes]]] = {}

    def add(self, wait: tuple[bytes, ObjectEntry, bytes]) -> None:
        """Have an entry become ready with a placement group: its id, the entry, and what the entry's data is to be."""
        group_id, entry, done = wait
        waiting = self._waiting.get(group_id)
        if waiting is None:
            self._waiting[group_id] = [(entry, done)]
            self._ask(AwaitGroup(group_id), lambda reply: self._answered(group_id, reply))
            return
        waiting.append((entry, done))
        count = len(waiting)
        if count >= _MANY and not count & (count - 1):
            waiting[:] = [one for one in waiting if one[0].count or one[0].tracked]

    def _answered(self, group_id: bytes, reply: Reply | TransportError) -> None:
        for entry, done in self._waiting.pop(group_id):
            if isinstance(reply, TransportError):
                entry.complete(FAILED, serialize_error(RaySystemError(f"The head cannot be reached: {reply}")))
            elif reply.body:
                entry.complete(FAILED, reply.body)
            else:
                entry.complete(INLINE, done)
