"""Kills workers at random, as an operator's mistake, a bug in native code or the kernel would."""

import contextlib
import random
import threading
from typing import Self

import psutil


class WorkerKiller:
    """While in its `with` block, sends SIGKILL to a random worker of this process's session now and then.

    Args:
        seed: decides who and when; what else goes on at that moment the operating system decides.
        pause: mean number of seconds between two kills.
    """

    def __init__(self, seed: int, pause: float) -> None:
        self.kills = 0
        self._random = random.Random(seed)
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="worker killer")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._random.uniform(0.2, 1.8) * self._pause):
            candidates = workers()
            if candidates:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._random.choice(candidates).kill()
                    self.kills += 1


def workers() -> list[psutil.Process]:
    """The worker processes of this process's session: driver, node process, zygote, worker."""
    found: list[psutil.Process] = []
    for node in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            for zygote in node.children():
                found += zygote.children()
    return sorted(found, key=lambda process: process.pid)
