"""The ranges that processes may write at the moment."""

from collections import Counter

import msgspec


class OpenGrant(msgspec.Struct):
    """A grant of which something is neither sealed nor returned.

    Attributes:
        number: never used again.
        process, request: whom it was given to, for which request.
        offset, size: the range as granted.
        populated: whether there was memory behind it then.
        since: when.
        gaps: start to end of what is neither sealed nor returned.
        asked_at: when its holder was last asked to return it.
        scanning: its holder is lost, and the shell looks through it.
    """

    number: int
    process: str
    request: int
    offset: int
    size: int
    populated: bool
    since: float
    gaps: dict[int, int]
    asked_at: float | None = None
    scanning: bool = False


class GrantTable:
    """All open grants, and how many bytes they hold."""

    def __init__(self) -> None:
        self.bytes = 0
        self.open: dict[int, OpenGrant] = {}
        self._of_process: dict[str, dict[int, OpenGrant]] = {}
        self._next = 1

    def add(self, process: str, request: int, offset: int, size: int, populated: bool, now: float) -> OpenGrant:
        """Note a new grant."""
        grant = OpenGrant(self._next, process, request, offset, size, populated, now, {offset: offset + size})
        self._next += 1
        self.open[grant.number] = grant
        self._of_process.setdefault(process, {})[grant.number] = grant
        self.bytes += size
        return grant

    def of_process(self, process: str) -> list[OpenGrant]:
        """A process's open grants."""
        return list(self._of_process.get(process, {}).values())

    def carve(self, process: str, number: int, offset: int, size: int) -> OpenGrant | None:
        """Take a range out of an open grant of the process; None, and nothing changes, where it is not in it.

        Numbers are never reused, so that a message about an earlier grant of the same memory finds nothing here.
        """
        grant = self.open.get(number)
        if grant is None or grant.process != process or size <= 0:
            return None
        end = offset + size
        for gap_start, gap_end in grant.gaps.items():
            if gap_start <= offset and end <= gap_end:
                break
        else:
            return None
        del grant.gaps[gap_start]
        if gap_start < offset:
            grant.gaps[gap_start] = offset
        if end < gap_end:
            grant.gaps[end] = gap_end
        self.bytes -= size
        if not grant.gaps:
            self._forget(grant)
        return grant

    def covers(self, offset: int) -> bool:
        """Whether some process may have an object at `offset` that it has not reported."""
        gaps = (gap for grant in self.open.values() for gap in grant.gaps.items())
        return any(start <= offset < end for start, end in gaps)

    def close(self, grant: OpenGrant) -> list[tuple[int, int]]:
        """End a grant; returns the ranges (offset, size) that were left of it."""
        rest = [(start, end - start) for start, end in grant.gaps.items()]
        self.bytes -= sum(size for _, size in rest)
        grant.gaps.clear()
        self._forget(grant)
        return rest

    def bytes_by_process(self) -> Counter[str]:
        """What each process holds unused."""
        held: Counter[str] = Counter()
        for grant in self.open.values():
            held[grant.process] += sum(end - start for start, end in grant.gaps.items())
        return held

    def _forget(self, grant: OpenGrant) -> None:
        del self.open[grant.number]
        mine = self._of_process[grant.process]
        del mine[grant.number]
        if not mine:
            del self._of_process[grant.process]
