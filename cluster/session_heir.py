"""Who removes a session's folder when its node process was killed: the driver, or the zygote after both have died."""

import os
import select
from contextlib import suppress
from pathlib import Path

from .process.identity import process_identity
from .session_remains import remove_dead

_LOOK_S = 0.5
"""How often it is looked whether the driver has removed the folder, once its node process was killed."""


class SessionHeir:
    """Made before the driver can die unseen; `inherit` runs in a process that outlives the node process.

    A driver that lives on shows its user the session's logs, and removes the folder when it leaves.

    Args:
        folder: the session's.
        driver_pid: the process that started the session; 0 for a session that does not end with one, whose logs stay
            for people to look at.
    """

    def __init__(self, folder: Path, driver_pid: int, driver_identity: str) -> None:
        self._folder = folder
        self._driver_pid = driver_pid
        self._driver_identity = driver_identity

    def inherit(self) -> None:
        """The node process is dead: return when nothing of the session is left, except what is meant to stay."""
        if not self._driver_pid:
            return
        with suppress(OSError):  # it is dead, or the system is old and cannot watch it
            descriptor = os.pidfd_open(self._driver_pid)
            try:
                self._wait_for_driver(descriptor)
            finally:
                os.close(descriptor)
        remove_dead(self._folder)

    def _wait_for_driver(self, descriptor: int) -> None:
        """Return when the driver is dead, or has removed the folder itself."""
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        # The descriptor is of whoever has the pid now: first hold, then see who it is.
        if process_identity(self._driver_pid) != self._driver_identity:
            return
        while self._folder.exists() and not ended.poll(_LOOK_S * 1000):
            pass
