"""An inbox whose reader lives on an asyncio loop."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any


class LoopInbox:
    """A queue that any thread may put to, and that wakes an asyncio loop at most once per drain.

    Waking a loop costs a system call, so a burst of messages must cost one, not one each. `drain` runs on the loop
    thread with the inbox as its argument, and takes messages with `get` until `empty`.
    """

    __slots__ = ("_awake", "_drain", "_items", "_loop", "_thread")

    def __init__(self, loop: asyncio.AbstractEventLoop, drain: Callable[[], None]) -> None:
        self._items: deque[Any] = deque()
        self._loop = loop
        self._drain = drain
        self._awake = False
        self._thread = 0  # the loop's thread, once it is known; putting from there needs no system call

    def put(self, item: Any, /) -> None:
        """Add a message; from any thread. Messages put after the loop has closed are dropped."""
        try:
            self._items.append(item)
            if not self._awake:
                self._awake = True
                if self._thread == threading.get_ident():
                    self._loop.call_soon(self._run)
                else:
                    self._loop.call_soon_threadsafe(self._run)
        except RuntimeError:  # the loop is closed: nobody will read this inbox again
            self._items.clear()
        except BaseException:  # Ctrl-C struck somewhere in between: nobody else might ever wake the loop
            self._loop.call_soon_threadsafe(self._run)
            raise

    def close(self) -> None:
        """Drop what is put from now on."""
        self._items = deque(maxlen=0)
        self._awake = True  # nobody is woken

    def get(self) -> Any:
        """Take the oldest message. Raises IndexError when there is none."""
        return self._items.popleft()

    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._items

    def _run(self) -> None:
        # Cleared before draining: a message put from now on either is seen by this drain or wakes the loop again.
        self._awake = False
        self._thread = threading.get_ident()
        self._drain()
