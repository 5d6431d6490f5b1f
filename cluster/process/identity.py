"""Telling a process from a later one that has its pid, and a living one from one that is about to end."""

import sys
from pathlib import Path

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
