"""Where an arena's memory comes from: the one place that knows platforms.

Linux: a sparse memfd, opened by others through `/proc/<pid>/fd/<fd>`. It is in no file system, so it vanishes with its
last user and a small `/dev/shm` does not limit it. Elsewhere: a sparse file in a folder, removed by its maker.
The file variety is tested on Linux only.
"""

import ctypes
import mmap
import os
import sys
import tempfile
from pathlib import Path

import msgspec

from .error import ArenaGoneError

MEMFD_NAME = "limelight-arena"
"""How an arena shows among a process's open files."""

HAS_MEMFD = sys.platform == "linux" and hasattr(os, "memfd_create")

_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2


class ArenaLocation(msgspec.Struct, frozen=True, array_like=True):
    """How another process of the node finds an arena.

    Attributes:
        pid, fd: the process that made it and its descriptor there.
        inode, device: what that descriptor must turn out to be, since pids and descriptors are reused.
        size: bytes of address space, of which most are never backed by memory.
        path: the file, where it is not a memfd; else "".
    """

    pid: int
    fd: int
    inode: int
    device: int
    size: int
    path: str = ""


def create(size: int, directory: str | None) -> tuple[int, ArenaLocation]:
    """Make sparse memory of `size` bytes: a memfd, or a file where `directory` is given or memfds are not had."""
    path = ""
    if directory is None and HAS_MEMFD:
        fd = os.memfd_create(MEMFD_NAME, os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp(prefix="arena-", dir=directory)
    os.ftruncate(fd, size)
    status = os.fstat(fd)
    return fd, ArenaLocation(os.getpid(), fd, status.st_ino, status.st_dev, size, path)


def attach(location: ArenaLocation) -> int:
    """Open what `create` made in another process (or this one).

    Raises:
        ArenaGoneError: it is not there, or not to be reached from here.
    """
    path = location.path or f"/proc/{location.pid}/fd/{location.fd}"
    advice = (
        "The node process that made it has probably ended: connect to a running cluster. If it is alive, this process "
        "must run as the same user and in the same PID namespace (the same container)."
    )
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise ArenaGoneError(
            f"Cannot open the shared memory of node process {location.pid} ({error}). {advice}"
        ) from error
    status = os.fstat(fd)
    if (status.st_ino, status.st_dev, status.st_size) != (location.inode, location.device, location.size):
        os.close(fd)
        raise ArenaGoneError(
            f"{path} is another file now, not the shared memory that process {location.pid} made. {advice}"
        )
    return fd


def reopen(fd: int, path: str) -> int:
    """A second, independent open of the same memory, whose locks are its own."""
    return os.open(path or f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)


def remove(path: str) -> None:
    """Remove the file of a file-backed arena; its users keep it until they close it."""
    if path:
        Path(path).unlink(missing_ok=True)


def punch(fd: int, start: int, length: int) -> None:
    """Give the memory of a page-aligned range back to the kernel; it reads as zeros afterwards. Releases the GIL.

    Where holes cannot be punched (not Linux) this does nothing: a file's pages can be written out instead.

    Raises:
        OSError: the kernel refused.
    """
    if _fallocate is None:
        return
    if _fallocate(fd, _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE, start, length) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot punch {length} bytes at {start}: {os.strerror(code)}")


def keep_out_of_core_dumps(mapping: mmap.mmap) -> None:
    """Arenas are large and belong to many processes; a core dump of one should not hold them all."""
    if hasattr(mmap, "MADV_DONTDUMP"):
        mapping.madvise(mmap.MADV_DONTDUMP)


def _load_fallocate() -> "ctypes._NamedFuncPointer | None":
    if sys.platform != "linux":
        return None
    function = ctypes.CDLL(None, use_errno=True).fallocate
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong]
    function.restype = ctypes.c_int
    return function


_fallocate = _load_fallocate()
