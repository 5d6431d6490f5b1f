"""Light Pykka actors: thousands of them over one pool of threads, one message at a time each."""

import queue
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pykka


class Dispatcher:
    """The pool of threads that dispatched cells share.

    A message that blocks on another actor's answer would starve the pool, so code that is about to wait says so with
    `blocking`: as long as it waits, another thread takes its place.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._name = name
        self._wanted = threads
        self._threads = 0
        self._lock = threading.Lock()
        self._cells: queue.SimpleQueue[DispatchedCell | None] = queue.SimpleQueue()
        self._own = threading.local()

    def schedule(self, cell: "DispatchedCell") -> None:
        """Let a thread handle a message of this cell. From any thread."""
        if self._threads < self._wanted:
            self._grow()
        self._cells.put(cell)

    @contextmanager
    def blocking(self) -> Generator[None]:
        """Around a wait on one of the pool's threads; no effect on others."""
        if not getattr(self._own, "mine", False):
            yield
            return
        with self._lock:
            self._wanted += 1
        self._grow()
        try:
            yield
        finally:
            with self._lock:
                self._wanted -= 1
            self._cells.put(None)  # one thread too many now: whoever takes this ends

    def _grow(self) -> None:
        with self._lock:
            if self._threads >= self._wanted:
                return
            self._threads += 1
            number = self._threads
        threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True).start()

    def _work(self) -> None:
        self._own.mine = True
        while True:
            cell = self._cells.get()
            if cell is not None:
                cell.handle_one()
                continue
            with self._lock:
                if self._threads > self._wanted:
                    self._threads -= 1
                    return


class DispatchedInbox:
    """A queue that puts its cell on the dispatcher when there is something to do."""

    __slots__ = ("_cell", "_items")

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._cell: DispatchedCell | None = None

    def bind(self, cell: "DispatchedCell") -> None:
        """Say whose inbox this is."""
        self._cell = cell

    def put(self, item: Any, /) -> None:
        """Add a message; from any thread."""
        self._items.append(item)
        if self._cell is not None:
            self._cell.wake()

    def get(self) -> Any:
        """Take the oldest message. Raises IndexError when there is none."""
        return self._items.popleft()

    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._items


class DispatchedCell(pykka.Actor):
    """An actor without a thread of its own. Subclasses must not let exceptions out of `on_receive`."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._lock = threading.Lock()
        self._scheduled = False
        inbox: Any = self.actor_inbox
        inbox.bind(self)

    @staticmethod
    def _create_actor_inbox() -> Any:
        return DispatchedInbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        """There is no loop: the inbox calls for a thread when a message comes."""

    def wake(self) -> None:
        """See to it that a thread looks at the inbox."""
        with self._lock:
            if self._scheduled:
                return
            self._scheduled = True
        self._dispatcher.schedule(self)

    def handle_one(self) -> None:
        """Handle one message, then queue behind the other cells: a busy actor does not starve its neighbours."""
        envelope: Any = self.actor_inbox.get()
        try:
            self.on_receive(envelope.message)
        finally:
            with self._lock:
                more = self._scheduled = not self.actor_inbox.empty()
            if more:
                self._dispatcher.schedule(self)
