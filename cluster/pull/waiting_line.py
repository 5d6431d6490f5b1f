"""Pulls that wait to be admitted, by urgency, and among equals in the order they came."""

from collections import OrderedDict

from .event import Priority
from .pull import Pull


class WaitingLine:
    """Which pull is next."""

    def __init__(self) -> None:
        # A plain dict's first item is looked for among all that stood before it and are gone.
        self._lines: dict[Priority, OrderedDict[int, Pull]] = {priority: OrderedDict() for priority in Priority}
        self._stands: dict[int, Priority] = {}

    def __len__(self) -> int:
        return len(self._stands)

    @property
    def first(self) -> Pull | None:
        """The one that is next; None where none waits."""
        return next((pull for line in self._lines.values() for pull in line.values()), None)

    def put(self, pull: Pull) -> None:
        """Have a pull wait; one that waits and has become more or less urgent goes to the end of its new equals."""
        if self._stands.get(pull.number) is pull.priority:
            return
        self.remove(pull)
        self._stands[pull.number] = pull.priority
        self._lines[pull.priority][pull.number] = pull

    def remove(self, pull: Pull) -> None:
        """It waits no more."""
        stood = self._stands.pop(pull.number, None)
        if stood is not None:
            del self._lines[stood][pull.number]
