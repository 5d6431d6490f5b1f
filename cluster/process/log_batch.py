"""Lines of output on their way to a driver, and how bytes become lines."""

import codecs
import re
from dataclasses import dataclass

import msgspec

NAME_MARK = "\x1e"
"""A line that starts with this (ASCII record separator) names whose output follows; see `task_stream`."""

MAX_LINE = 1 << 16
"""A longer line is shown in pieces of this many characters."""

_LINE_END = re.compile(r"\r?\n")


@dataclass(frozen=True, slots=True)
class LogOrigin:
    """Whose output it is.

    Attributes:
        job_id: the job whose driver wants to see it; b"" while the worker is idle.
        name: task or actor, until the output itself names one.
        pid: the worker's process id.
        node: the node as people know it, its IP address.
    """

    job_id: bytes
    name: str
    pid: int
    node: str


class LogBatch(msgspec.Struct, frozen=True, array_like=True):
    """Lines that one worker printed to one stream ("stdout" or "stderr"), without line ends. See `LogOrigin`."""

    job_id: bytes
    name: str
    pid: int
    node: str
    stream: str
    lines: list[str]


class LineReader:
    """Cuts a stream of bytes into lines as a terminal shows them. Sans-I/O; bounded by `MAX_LINE` and one portion.

    Bytes that are not UTF-8 are replaced. Of text that a carriage return overwrites, as progress bars do, only what
    stays visible is kept.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._partial = ""
        self._name = ""

    @property
    def has_partial(self) -> bool:
        """There is text without an end of line."""
        return bool(self._partial)

    def feed(self, data: bytes) -> list[tuple[str, list[str]]]:
        """The lines that are complete now, in order, grouped by the name they were printed under ("": none yet)."""
        *lines, rest = _LINE_END.split(self._partial + self._decoder.decode(data))
        if len(rest) > MAX_LINE:
            rest = visible(rest)
        while len(rest) > MAX_LINE:
            lines.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._partial = rest
        return self._group(lines)

    def take_partial(self) -> list[tuple[str, list[str]]]:
        """Like `feed`, for the text that has no end of line yet; what follows it counts as a line of its own."""
        if not self._partial:
            return []
        partial, self._partial = self._partial, ""
        return self._group([partial])

    def _group(self, lines: list[str]) -> list[tuple[str, list[str]]]:
        groups: list[tuple[str, list[str]]] = []
        for line in lines:
            if line.startswith(NAME_MARK):
                self._name = line[1:]
                continue
            if not groups or groups[-1][0] != self._name:
                groups.append((self._name, []))
            groups[-1][1].extend(_pieces(visible(line)))
        return groups


def visible(line: str) -> str:
    """What a terminal shows of a line with carriage returns: the text after the last one that has any."""
    return line.rstrip("\r").rpartition("\r")[2]


def _pieces(line: str) -> list[str]:
    if len(line) <= MAX_LINE:
        return [line]
    return [line[start : start + MAX_LINE] for start in range(0, len(line), MAX_LINE)]
