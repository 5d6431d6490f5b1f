"""Taking memory back from readers: the node process's side of pins."""

from .arena import Arena
from .stored_object import clear_object


class Reclaimer:
    """Clears objects that nobody reads any more, so that their memory can be used again.

    Its lock is not the one under which the node process itself reads, so that its own reads count too.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._lock = arena.new_lock()

    def reclaim(self, offset: int, size: int) -> bool:
        """Clear the object in the range; False, and nothing is done, when any process pins something there.

        Takes about 2 us.
        """
        if self._lock.per_process and self._arena.pins.is_pinned(offset, size):
            return False
        if not self._lock.try_exclude(offset, size):
            return False
        try:
            clear_object(self._arena.memory, offset)
        finally:
            self._lock.release(offset, size)
        return True

    def close(self) -> None:
        """Release the lock's descriptor."""
        self._lock.close()
