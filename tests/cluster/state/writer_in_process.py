"""Handles a `writing_process.py`: reads what it says, kills it, pauses it."""

import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

SCRIPT = Path(__file__).with_name("writing_process.py")
DEADLINE = 30.0


class WriterInProcess:
    """A head that writes, in a process of its own.

    Attributes:
        token: its leadership's.
    """

    def __init__(self, url: str, ttl_s: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), url, str(ttl_s)], stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._last = 0
        first = self._lines.get(timeout=DEADLINE)
        if not first.startswith("leads "):
            self.kill()
            raise AssertionError(f"the process says {first!r}")
        self.token = int(first.split()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resume()
        self.kill()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.strip())
        self._lines.put("")

    def read_until(self, n: int) -> int:
        """Wait until it was told that `n`, or more, is durable; returns that."""
        deadline = time.monotonic() + DEADLINE
        while self._last < n:
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert line.isdecimal(), f"the process says {line!r}"
            self._last = int(line)
        return self._last

    def last(self) -> int:
        """The last that it was told is durable, after its end."""
        self._reader.join(DEADLINE)
        while not self._lines.empty():
            line = self._lines.get()
            self._last = int(line) if line.isdecimal() else self._last
        return self._last

    def last_before_silence(self) -> int:
        """The last that it was told is durable before it stopped saying so."""
        while True:
            try:
                self._last = int(self._lines.get(timeout=0.5))
            except queue.Empty:
                return self._last

    def wait_for_line(self, expected: str) -> bool:
        """Whether it says this before it ends."""
        while line := self._lines.get(timeout=DEADLINE):
            if line == expected:
                return True
        return False

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(DEADLINE)
        self._process.stdout.close()
