"""Finds what tests leave behind: processes, threads, asyncio tasks, shared memory, sockets and session folders."""

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

RUN_MARK = "LIMELIGHT_TEST_RUN"
"""Set in the environment, so that a process is known for ours even when its parent is gone."""

SHARED_MEMORY = Path("/dev/shm")

Leaks = dict[str, str]
"""What is there, by a key that names it for its life, and how to call it in a message."""


def processes(run_id: str) -> Leaks:
    """Our descendants, and those processes that a descendant left to init."""
    found = {}
    for process in [*psutil.Process().children(recursive=True), *_marked(run_id)]:
        with contextlib.suppress(psutil.Error):
            command = process.cmdline()
            if process.status() == psutil.STATUS_ZOMBIE or _belongs_to_the_interpreter(command):
                continue
            key = f"process {process.pid} {process.create_time()}"
            found[key] = f"process {process.pid} ({process.name()}): {' '.join(command)[:200]}"
    return found


def _marked(run_id: str) -> Iterator[psutil.Process]:
    mark = f"{RUN_MARK}={run_id}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, psutil.Error):
            if mark in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                yield psutil.Process(int(folder.name))


def _belongs_to_the_interpreter(command: list[str]) -> bool:
    """Python's multiprocessing keeps one helper process of this kind until the interpreter ends."""
    return any("multiprocessing.resource_tracker" in word for word in command)


def threads() -> Leaks:
    """Threads that would keep the interpreter from ending, and the runtime's own daemon threads."""
    alive = [t for t in threading.enumerate() if not t.daemon or t.name.startswith("limelight")]
    # The time limit of the test that is just ending; pytest-timeout cancels it after the fixtures.
    alive = [t for t in alive if not t.name.startswith("pytest_timeout")]
    return {f"thread {t.name} {t.ident}": f"thread {t.name!r}" for t in alive}


def shared_memory() -> Leaks:
    """Entries of /dev/shm."""
    names = [path.name for path in SHARED_MEMORY.iterdir()] if SHARED_MEMORY.is_dir() else []
    return {f"shared memory {name}": f"shared memory {SHARED_MEMORY / name}" for name in names}


def temporary_files() -> Leaks:
    """Session folders, and sockets wherever they lie in the temporary folder."""
    folder = Path(tempfile.gettempdir())
    found = [path for path in folder.rglob("*") if path.name.startswith("limelight") or path.is_socket()]
    return {f"file {path}": f"{'socket' if path.is_socket() else 'folder or file'} {path}" for path in found}


@dataclass
class Watch:
    """Compares what is there now with what was there at the start.

    Attributes:
        run_id: this test run's value of `RUN_MARK`.
        grace: seconds that what is on its way out is given before it counts as left behind.
    """

    run_id: str
    grace: float
    before: Leaks = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = self._census()

    def left_behind(self) -> Leaks:
        """What has come since and does not go within the grace period."""
        deadline = time.monotonic() + self.grace
        while (left := self._new()) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not left:
            # A process in the middle of exec() shows no environment: look once more.
            time.sleep(0.02)
            left = self._new()
        return {key: text for key, text in left.items() if not _held_by_a_stranger(key, self.run_id)}

    def _new(self) -> Leaks:
        return {key: text for key, text in self._census().items() if key not in self.before}

    def _census(self) -> Leaks:
        return processes(self.run_id) | threads() | shared_memory() | temporary_files()


def _held_by_a_stranger(key: str, run_id: str) -> bool:
    """/dev/shm is everybody's: an entry that a process of somebody else's has mapped is not ours to answer for."""
    if not key.startswith("shared memory "):
        return False
    path = str(SHARED_MEMORY / key.removeprefix("shared memory "))
    own = {os.getpid(), *(int(name.split()[1]) for name in processes(run_id))}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if path in (folder / "maps").read_text() and int(folder.name) not in own:
                return True
    return False


def end(leaks: Leaks) -> None:
    """Kill leaked processes and remove leaked files, so that the tests that follow start clean."""
    for key in leaks:
        kind, _, rest = key.partition(" ")
        if kind == "process":
            with contextlib.suppress(psutil.Error):
                psutil.Process(int(rest.split()[0])).kill()
        elif key.startswith("shared memory "):
            with contextlib.suppress(OSError):
                (SHARED_MEMORY / rest.partition(" ")[2]).unlink()


class TaskWatch:
    """Notes the asyncio tasks that were still running when a loop of the main thread was closed.

    `asyncio.Runner`, which pytest-asyncio runs each test in, cancels such tasks without a word. This stands in front
    of that cancelling, once for the whole run.
    """

    def __init__(self, grace: float = 1.0) -> None:
        self.left: list[str] = []
        self.grace = grace
        self._cancel: Callable[[asyncio.AbstractEventLoop], None] = asyncio.runners._cancel_all_tasks

    def install(self) -> None:
        asyncio.runners._cancel_all_tasks = self._note_and_cancel

    def uninstall(self) -> None:
        asyncio.runners._cancel_all_tasks = self._cancel

    def take(self) -> list[str]:
        """What has been noted since the last call."""
        left, self.left = self.left, []
        return left

    def _note_and_cancel(self, loop: asyncio.AbstractEventLoop) -> None:
        if threading.current_thread() is threading.main_thread() and (tasks := asyncio.all_tasks(loop)):
            _, running = loop.run_until_complete(asyncio.wait(tasks, timeout=self.grace))
            self.left += [f"asyncio task {task.get_name()}: {task.get_coro()!r}" for task in running]
        self._cancel(loop)
