"""How many workers a class has told the node managers that it could use. Free of I/O and clocks."""

_EXACT = 8


class Declaration:
    """The number that was told last, and when another is worth telling.

    Attributes:
        count: what was told last.
    """

    def __init__(self) -> None:
        self.count = 0
        self._dropped = False

    def drop(self) -> None:
        """It does not count any more: the next one is told even if it is the same."""
        self._dropped = True

    def change(self, busy: int, needed: int, held: int, *, waits: bool) -> bool:
        """Take in what is needed now; whether `count` is to be told.

        Args:
            busy: leases that what is `needed` cannot have.
            needed: workers for what is to be done.
            held: leases that there are.
            waits: there are tasks in the queue.
        """
        enough, wanted = max(held, busy + needed), max(held, busy + _rounded(needed))
        if waits and wanted > _EXACT and enough <= self.count <= 3 * wanted // 2 and not self._dropped:
            return False  # about as many as before: not worth a message to each node
        if wanted == self.count and not self._dropped:
            return False
        self.count, self._dropped = wanted, False
        return True


def _rounded(count: int) -> int:
    """A count rounded up to two significant binary digits: a queue that shrinks is not worth a message each time."""
    if count <= _EXACT:
        return count
    step = 1 << (count.bit_length() - 2)
    return -(-count // step) * step
