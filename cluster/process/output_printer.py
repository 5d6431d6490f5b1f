"""Shows the output of workers at the driver: `(f pid=123) hello`."""

import asyncio
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, TextIO

from .log_batch import LogBatch
from .printing_thread import PrintingThread
from .repeated_lines import RepeatedLines, ShownLine

_CYAN = "\x1b[36m"
_GREEN = "\x1b[32m"
_RESET = "\x1b[0m"
_PALETTE = tuple(f"\x1b[{code}m" for code in (36, 35, 33, 32, 34, 96, 95, 93, 92, 94))


@dataclass(frozen=True, slots=True)
class PrinterSettings:
    """How output is shown.

    Attributes:
        collapse: show lines that many workers print once, with a count (LIMELIGHT_DEDUP_LOGS=0: no).
        window: seconds for which repetitions are counted (LIMELIGHT_DEDUP_LOGS_AGG_WINDOW_S).
        never_collapse: lines this matches are always shown (LIMELIGHT_DEDUP_LOGS_ALLOW_REGEX).
        skip: lines this matches are never shown (LIMELIGHT_DEDUP_LOGS_SKIP_REGEX).
        color_by_process: a colour for each process rather than one for all (LIMELIGHT_COLOR_PREFIX=1).
        color: may be used at all: not when NO_COLOR is set, and only on a terminal in any case.
    """

    collapse: bool = True
    window: float = 5.0
    never_collapse: re.Pattern[str] | None = None
    skip: re.Pattern[str] | None = None
    color_by_process: bool = False
    color: bool = True

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings that LIMELIGHT_* variables give, or else Ray's RAY_* ones.

        Raises:
            ValueError: a value that makes no sense; the message names the variable.
        """

        def setting(name: str, default: str) -> str:
            return environment.get(f"LIMELIGHT_{name}", environment.get(f"RAY_{name}", default))

        try:
            window = float(setting("DEDUP_LOGS_AGG_WINDOW_S", "5"))
        except ValueError as error:
            raise ValueError(f"LIMELIGHT_DEDUP_LOGS_AGG_WINDOW_S must be a number of seconds: {error}.") from error
        return cls(
            collapse=setting("DEDUP_LOGS", "1") == "1",
            window=window,
            never_collapse=_pattern("DEDUP_LOGS_ALLOW_REGEX", setting("DEDUP_LOGS_ALLOW_REGEX", "")),
            skip=_pattern("DEDUP_LOGS_SKIP_REGEX", setting("DEDUP_LOGS_SKIP_REGEX", "")),
            color_by_process=setting("COLOR_PREFIX", "0") == "1",
            color=not environment.get("NO_COLOR"),
        )


class OutputPrinter:
    """Prints batches of lines to `sys.stdout` and `sys.stderr`, whatever those are at that time.

    `show` belongs to one event loop. Printing itself happens on a thread, because a terminal may block for as long as
    its user likes; `show` returns when its lines are printed, which is what slows the sender down.

    Args:
        settings: how.
        own_node: node whose processes need no address in their prefix.
    """

    def __init__(self, settings: PrinterSettings, own_node: str) -> None:
        self._settings = settings
        self._own_node = own_node
        window = settings.window if settings.collapse else 0.0
        self._repeated = RepeatedLines(window, settings.never_collapse, settings.skip)
        self._thread = PrintingThread("limelight-output")
        self._timer: asyncio.TimerHandle | None = None
        self._hint_given = False

    async def show(self, batch: LogBatch) -> None:
        """Print the lines of a batch, or count them with those that are like them."""
        if self._settings.collapse:
            lines = self._repeated.feed(batch, time.monotonic())
            self._set_timer()
        else:
            skip = self._settings.skip
            lines = [ShownLine(batch, text, 1) for text in batch.lines if skip is None or not skip.search(text)]
        if lines:
            await self._thread.run(lambda: self._print(lines))

    async def close(self) -> None:
        """Print what was held back, and end the thread. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines = self._repeated.expire(float("inf"))
        if lines:
            await self._thread.run(lambda: self._print(lines))
        await self._thread.close()

    def _set_timer(self) -> None:
        deadline = self._repeated.deadline
        if self._timer is None and deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, deadline - time.monotonic()), self._expire)

    def _expire(self) -> None:
        self._timer = None
        lines = self._repeated.expire(time.monotonic())
        if lines:
            self._thread.submit(lambda: self._print(lines))
        self._set_timer()

    def _print(self, lines: list[ShownLine]) -> None:
        """Print on the thread; one write a run of lines of one stream, so that other prints do not cut into it."""
        stream, texts = "", list[str]()
        for line in lines:
            if texts and line.batch.stream != stream:
                _write(stream, texts)
                texts = []
            stream = line.batch.stream
            texts.append(self._format(line, _target(stream)))
        if texts:
            _write(stream, texts)

    def _format(self, line: ShownLine, target: TextIO) -> str:
        batch = line.batch
        where = "" if batch.node == self._own_node else f", ip={batch.node}"
        prefix = f"({batch.name} pid={batch.pid}{where})"
        repeated = f" [repeated {line.times}x across cluster]" if line.times > 1 else ""
        if repeated and not self._hint_given:
            self._hint_given = True
            repeated += " (LIMELIGHT_DEDUP_LOGS=0 shows each; the log files have them all)"
        if self._settings.color and target.isatty():
            by_process = self._settings.color_by_process
            color = _PALETTE[hash((batch.node, batch.pid)) % len(_PALETTE)] if by_process else _CYAN
            prefix = f"{color}{prefix}{_RESET}"
            repeated = f"{_GREEN}{repeated}{_RESET}" if repeated else ""
        return f"{prefix} {line.text}{repeated}\n"


def _pattern(name: str, expression: str) -> re.Pattern[str] | None:
    try:
        return re.compile(expression) if expression else None
    except re.error as error:
        raise ValueError(f"LIMELIGHT_{name} is not a regular expression: {error}.") from error


def _target(stream: str) -> TextIO:
    return sys.stderr if stream == "stderr" else sys.stdout


def _write(stream: str, texts: list[str]) -> None:
    target = _target(stream)
    try:
        target.write("".join(texts))
        target.flush()
    except UnicodeEncodeError:
        encoding = target.encoding or "ascii"
        target.write("".join(texts).encode(encoding, "backslashreplace").decode(encoding))
        target.flush()
