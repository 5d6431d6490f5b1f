"""How much of the arena a process reads at the moment, from the kernel's list of its locks; for error messages."""

from pathlib import Path

import msgspec

from ...transport.shm.backing import MEMFD_NAME, ArenaLocation

_EOF = "EOF"


class Reader(msgspec.Struct, frozen=True):
    """A process that reads objects.

    Attributes:
        process: its process id.
        name: what it is called in messages.
        size: bytes that it has pinned.
        at_work: it runs a task: when that ends, it lets go.
    """

    process: str
    name: str
    size: int
    at_work: bool


def bytes_read_by(pid: int, arena: ArenaLocation) -> int:
    """Bytes of an arena that a local process has pinned (transport/shm/pin.py); 0 where the system does not tell.

    A driver may still read what it got in an earlier session, whose arena lives as long as that.

    Takes about a millisecond. Source: proc(5), /proc/pid/fdinfo: "lock: 1: OFDLCK ADVISORY READ -1 00:01:8403 0 4095".
    """
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0
    return sum(_locked(descriptor, str(arena.inode)) for descriptor in descriptors)


def _locked(descriptor: Path, inode: str) -> int:
    try:
        if MEMFD_NAME not in str(descriptor.readlink()):
            return 0
        lines = Path(descriptor.parent.parent, "fdinfo", descriptor.name).read_text(encoding="ascii").splitlines()
    except OSError:  # closed meanwhile
        return 0
    locked = 0
    for line in lines:
        fields = line.split()
        if not fields or fields[0] != "lock:" or "READ" not in fields or fields[-1] == _EOF:
            continue
        if fields[-3].rpartition(":")[2] == inode:
            locked += int(fields[-1]) - int(fields[-2]) + 1
    return locked
