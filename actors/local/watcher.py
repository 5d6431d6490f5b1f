"""A thread that runs the coroutines of local mode while only callbacks wait for them."""

import threading
from collections.abc import Callable

from .loop import LocalLoop


class Watcher:
    """Drives the loop for futures and callbacks, whose takers wait elsewhere: in a loop of their own, for example.

    Starts no thread before something is watched that is not there yet.
    """

    def __init__(self, loop: LocalLoop) -> None:
        self._loop = loop
        self._watched: dict[object, Callable[[], bool]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def watch(self, what: object, done: Callable[[], bool]) -> None:
        """Drive the loop until `done()`. Watching the same thing again changes nothing."""
        if done():
            return
        with self._changed:
            self._watched[what] = done
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="limelight-local-mode", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        self._loop.notify()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._loop.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._watched and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
            self._loop.drive(self._settled)

    def _settled(self) -> bool:
        with self._changed:
            self._watched = {what: done for what, done in self._watched.items() if not done()}
            return self._stopping or not self._watched
