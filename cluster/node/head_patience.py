"""How long the head may leave unanswered what this node's processes say to it. Free of I/O and clocks.

A program that waits for its head is told so after some seconds, once, and again when the head is back. What only asks,
and changes nothing, is refused in the end; what submits something waits for as long as it takes.
"""

from typing import Final, NamedTuple

NOTICE_S: Final = 3.0
"""Seconds after which a program is told that it waits for the head."""

PATIENCE_S: Final = 60.0
"""Seconds after which a question is refused. Ray's setting of the same name has the same value."""

QUESTIONS: Final = {
    "QueryState": "was asked about the cluster's nodes, resources, actors or placement groups",
    "FindActor": "was asked for a named actor",
    "FindGroup": "was asked for a named placement group",
    "ListNamedActors": "was asked which named actors there are",
}
"""What may be refused, as it changes nothing, and how to call it."""

LONG: Final = frozenset({"AwaitGroup", "AwaitJobStop"})
"""What even a healthy head answers only when something happens."""


def asks_only(method: str) -> bool:
    """Whether a call changes nothing, so that it matters to nobody but the process that waits for its answer."""
    return method in QUESTIONS or method in LONG


class _Wait(NamedTuple):
    process_id: str
    method: str
    since: float


class Look(NamedTuple):
    """What is to be done.

    Attributes:
        tell: processes that wait, and are to be told so.
        refuse: numbers of questions that have waited for too long.
    """

    tell: list[str]
    refuse: list[int]


class HeadPatience:
    """Knows who waits for the head, and who was told.

    Args:
        patience: seconds after which a question is refused; 0: never.
        notice: seconds after which a program is told that it waits.

    Attributes:
        patience: the same.
    """

    def __init__(self, patience: float = PATIENCE_S, notice: float = NOTICE_S) -> None:
        self.patience = patience
        self._notice = notice
        self._waits: dict[int, _Wait] = {}
        self._short = 0
        self._away_since: float | None = None
        self._told: dict[str, None] = {}

    @property
    def looks(self) -> bool:
        """Whether there is anything to look at, now and then."""
        return self._away_since is not None or self._short > 0 or bool(self._told)

    def away(self, now: float) -> None:
        """The head is out of reach."""
        if self._away_since is None:
            self._away_since = now

    def back(self) -> None:
        """A head is there. Whether it answers is another matter."""
        self._away_since = None

    def said(self, number: int, process_id: str, method: str, now: float) -> None:
        """A process has said something that the head is to answer."""
        self._waits[number] = _Wait(process_id, method, now)
        self._short += method not in LONG

    def answered(self, number: int) -> None:
        """The head has answered, or nobody waits for that any more."""
        wait = self._waits.pop(number, None)
        self._short -= wait is not None and wait.method not in LONG

    def left(self, process_id: str) -> None:
        """A process has ended."""
        self._told.pop(process_id, None)

    def look(self, now: float, others: list[str]) -> Look:
        """Look who has waited for too long.

        Args:
            now: the time, in seconds.
            others: processes that wait for a head that is away although they have said nothing to it.
        """
        away = self._away_since
        is_away = away is not None and now - away >= self._notice
        slow = {
            wait.process_id
            for wait in self._waits.values()
            if (is_away and wait.method != "AwaitJobStop")
            or (wait.method not in LONG and now - wait.since >= self._notice)
        }
        if is_away:
            slow.update(others)
        tell = sorted(slow - self._told.keys())
        self._told |= dict.fromkeys(tell)
        return Look(tell, [number for number, wait in self._waits.items() if self._is_over(wait, now)])

    def relieved(self, now: float) -> list[str]:
        """Who was told that it waits, and does so no more, as the head is there and answers."""
        if self._away_since is not None or not self._told:
            return []
        if any(wait.method not in LONG and now - wait.since >= self._notice for wait in self._waits.values()):
            return []
        told, self._told = list(self._told), {}
        return told

    def _is_over(self, wait: _Wait, now: float) -> bool:
        return 0 < self.patience <= now - wait.since and wait.method in QUESTIONS
