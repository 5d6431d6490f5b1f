"""What waits to be written, what is being written, and who waits for that. No I/O; `state_writer.py` does it."""

from collections import deque
from collections.abc import Callable, Sequence

from .change import Change


class WriteQueue:
    """Makes batches: everything queued so far is one, so what one step of the head queues is never torn apart.

    One batch is under way at a time. It stays what it is until it is written, however often that is tried: so what a
    store holds is always what the head had queued up to some moment, and at least up to what was said to be durable.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], Change] = {}
        self._batch: Sequence[Change] | None = None
        # A watcher waits for the batch that was not yet taken when it came, or else for the one under way.
        self._for_waiting: deque[Callable[[], None]] = deque()
        self._for_batch: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        """How many changes are not durable yet."""
        return len(self._waiting) + len(self._batch or ())

    def add(self, change: Change) -> None:
        """Queue a change; of one key only the last that waits is written."""
        self._waiting[change[:2]] = change

    def watch(self, callback: Callable[[], None]) -> bool:
        """Have `written` return this when all that is queued now is durable; False where it is already."""
        if self._waiting:
            self._for_waiting.append(callback)
        elif self._batch is not None:
            self._for_batch.append(callback)
        else:
            return False
        return True

    def take(self) -> Sequence[Change]:
        """The batch to write now: the one under way, or else all that waits; empty when there is nothing."""
        if self._batch is None and self._waiting:
            self._batch, self._waiting = tuple(self._waiting.values()), {}
            self._for_batch, self._for_waiting = self._for_waiting, deque()
        return self._batch or ()

    def written(self) -> deque[Callable[[], None]]:
        """The batch under way is durable. Returns whom to tell, in the order they came."""
        self._batch = None
        due, self._for_batch = self._for_batch, deque()
        return due

    def clear(self) -> None:
        """Forget everything: nothing more will be written."""
        self.__init__()
