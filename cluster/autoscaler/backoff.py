"""Pauses after launches that failed, by node type."""

from collections.abc import Callable
from typing import NamedTuple

from .config import ScalingConfig


class Failure(NamedTuple):
    """How a type's launches fare: how many have failed in a row, why the last, and when the next may be tried."""

    times: int
    text: str
    until: float


class Backoff:
    """Remembers failures; each doubles the pause, a node that joins ends it.

    Args:
        config: has the times.
        jitter: gives a number from 0 to 1, so that clusters that share a quota do not all come back at once.
    """

    def __init__(self, config: ScalingConfig, jitter: Callable[[], float]) -> None:
        self.config = config
        self.failures: dict[str, Failure] = {}
        self._jitter = jitter

    def failed(self, node_type: str, text: str, now: float) -> None:
        """A launch came to nothing. Several at a time count once: those asked for together fail together."""
        before = self.failures.get(node_type)
        if before is not None and now < before.until:
            self.failures[node_type] = before._replace(text=text)
            return
        times = before.times + 1 if before is not None else 1
        pause = min(self.config.max_backoff, self.config.backoff * 2.0 ** min(times - 1, 30))
        self.failures[node_type] = Failure(times, text, now + pause * (0.75 + 0.25 * self._jitter()))

    def succeeded(self, node_type: str) -> None:
        """A machine of the type has joined."""
        self.failures.pop(node_type, None)

    def may_launch(self, node_type: str, now: float) -> bool:
        """Whether the pause, if there is one, is over."""
        failure = self.failures.get(node_type)
        return failure is None or now >= failure.until
