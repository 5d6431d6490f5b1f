"""Being told at once when a process dies, without polling, for any process of the machine.

Linux: a pidfd becomes readable when its process ends, and names that process even after the pid is used again
(pidfd_open(2), since 5.3). macOS and the BSDs: kqueue's NOTE_EXIT. Elsewhere the process is looked at once a second.
"""

import asyncio
import contextlib
import os
import select
import sys
from collections.abc import Callable
from typing import Any

from .identity import process_identity

POLL_SECONDS = 1.0
"""How often a process is looked at where the system can not tell of its end."""


class ProcessWatch:
    """Calls back once, in the event loop, when a process dies; at the loop's next turn if it is dead already.

    Belongs to the running loop; not thread-safe. It does not reap: the pid of the caller's own child still belongs to
    it during the callback.

    Args:
        pid: the process.
        on_death: called without arguments.
        identity: as `process_identity` gave it when the pid was certainly still the process's, from the process itself
            for example. Without it, whoever has the pid now is watched: right for one's own unreaped child or parent.
    """

    def __init__(self, pid: int, on_death: Callable[[], None], identity: str | None = None) -> None:
        self._pid = pid
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._descriptor: Any = None
        self._open = True
        # First take hold of whoever has the pid, then see that it is who was meant: in this order nobody slips between.
        self._hold()
        self._identity = process_identity(pid) if identity is None else identity
        if not self._identity or process_identity(pid) != self._identity:
            self._timer = self._loop.call_soon(self._report)
        elif self._descriptor is None:
            self._poll()
        else:
            self._loop.add_reader(self._descriptor, self._report)

    def close(self) -> None:
        """Watch no more. Idempotent."""
        if not self._open:
            return
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            if isinstance(self._descriptor, int):
                os.close(self._descriptor)
            else:
                self._descriptor.close()

    def _hold(self) -> None:
        # Refused: the process is dead, or the system is old or a sandbox, which the identity then tells apart.
        with contextlib.suppress(OSError):
            if hasattr(os, "pidfd_open"):
                self._descriptor = os.pidfd_open(self._pid)
            elif sys.platform != "linux" and hasattr(select, "kqueue"):
                queue: Any = select.kqueue()
                event = select.kevent(
                    self._pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
                )
                self._descriptor = queue
                queue.control([event], 0)

    def _poll(self) -> None:
        if process_identity(self._pid) != self._identity:
            self._report()
        else:
            self._timer = self._loop.call_later(POLL_SECONDS, self._poll)

    def _report(self) -> None:
        if self._open:
            self.close()
            self._on_death()
