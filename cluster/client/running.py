"""The processes of clusters that this user runs on this machine."""

import os
import signal
import time
from pathlib import Path

from ..process.identity import process_identity
from ..session_info import SessionInfo, read_info
from ..session_remains import is_live, live_sessions, remove_dead

_LOOK_S = 0.02


class ClusterProcess:
    """A head, or a node with its workers.

    Attributes:
        folder: of its session.
        info: what it says of itself.
    """

    def __init__(self, folder: Path, info: SessionInfo) -> None:
        self.folder = folder
        self.info = info
        self._identity = process_identity(info.pid)

    @property
    def what(self) -> str:
        """For people."""
        return f"the {self.info.kind} (pid {self.info.pid})"

    @property
    def log(self) -> Path:
        """Its log."""
        return self.folder / "logs" / ("head.log" if self.info.kind == "head" else "node.log")

    def is_alive(self) -> bool:
        """It has not ended."""
        return bool(self._identity) and process_identity(self.info.pid) == self._identity

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.is_alive():
            os.kill(self.info.pid, number)


def cluster_processes() -> list[ClusterProcess]:
    """Those that were started by `cluster start` and `cluster join`, heads first."""
    found = [ClusterProcess(path, info) for path in live_sessions() if (info := read_info(path)) is not None]
    started = (one for one in found if one.info.kind in {"head", "node"} or not one.info.driver_pid)
    return sorted(started, key=lambda one: one.info.kind != "head")


def wait_for_ends(processes: list[ClusterProcess], timeout: float) -> list[ClusterProcess]:
    """Wait until processes that are not this one's children have ended; returns those that have not in time."""
    deadline = time.monotonic() + timeout
    left = processes
    while left and time.monotonic() < deadline:
        time.sleep(_LOOK_S)  # a process that is no child can be awaited by looking only, on all systems alike
        # The first thread of a killed process can be dead while others still hold its files.
        left = [process for process in left if process.is_alive() or is_live(process.folder)]
    for process in processes:
        if process not in left:
            remove_dead(process.folder)
    return left
