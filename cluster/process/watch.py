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
from pathlib import Path
from typing import Any

POLL_SECONDS = 1.0
"""How often a process is looked at where the system can not tell of its end."""

_PF_EXITING = 0x4  # include/linux/sched.h


def process_identity(pid: int) -> str:
    """Tells the live process with that pid from a later one: its start time as the kernel counts it.

    "" when there is no such process; a zombie is dead.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return ""
        # proc(5): field 3 is the state, field 22 the start time in clock ticks since the boot.
        fields = stat[stat.rindex(b")") + 2 :].split()
        return "" if fields[0] in {b"Z", b"X"} else fields[19].decode()
    import psutil  # not needed on Linux, where every new process of Limelight passes here

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return ""


def is_exiting(pid: int) -> bool:
    """Whether the process is dead or on its way out, so that what ends it has happened already.

    Always false where the system does not tell: elsewhere than on Linux.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return sys.platform == "linux"
    fields = stat[stat.rindex(b")") + 2 :].split()
    # proc(5): field 9 holds the flags. The kernel sets PF_EXITING before it closes the process's descriptors, so
    # whoever has seen a socket of the process close sees this too.
    return fields[0] in {b"Z", b"X"} or bool(int(fields[6]) & _PF_EXITING)


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


async def wait_for_death(pid: int, identity: str | None = None) -> None:
    """Return when the process is dead; see `ProcessWatch`."""
    dead = asyncio.Event()
    watch = ProcessWatch(pid, dead.set, identity)
    try:
        await dead.wait()
    finally:
        watch.close()
