"""What the processes of a session weigh, by the kernel's own account."""

import contextlib
import os
import time
from pathlib import Path

SESSION_MARK = "LIMELIGHT_BENCHMARK"
"""In the environment of a driver and all it starts, so that a process whose parent is gone is still known."""


def processes_marked(mark: str) -> list[int]:
    """The ids of all living processes that were started with that value of `SESSION_MARK`, or by such a process."""
    wanted = f"{SESSION_MARK}={mark}".encode()
    parents, found = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if state == "Z":
                continue
            parents[int(folder.name)] = int(parent)
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def proportional_memory(pid: int) -> int:
    """Bytes of a process, where a page shared by n processes counts one nth (PSS: proc_pid_smaps(5))."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def settled_footprint(quiet: float, limit: float = 40.0) -> tuple[int, int]:
    """Bytes and number of this driver's session's processes, itself not among them, once they no longer change.

    Waits until for `quiet` seconds no process came or went and memory stayed within 2 %.

    Raises:
        TimeoutError: that did not come about within `limit` seconds.
    """
    mark, own = os.environ[SESSION_MARK], os.getpid()
    deadline = time.monotonic() + limit
    since, reference, members = time.monotonic(), 0, []
    while time.monotonic() < deadline:
        now = [pid for pid in processes_marked(mark) if pid != own]
        memory = sum(map(proportional_memory, now))
        if now != members or abs(memory - reference) > reference * 0.02:
            since, reference, members = time.monotonic(), memory, now
        elif time.monotonic() - since >= max(quiet, 1.0):
            return memory, len(now)
        time.sleep(0.25)
    raise TimeoutError(f"the idle session still changed after {limit:.0f} s: {len(members)} processes")
