"""Shared pages mapped once more for one reader alone, who may write to them: copy-on-write, by the kernel (mmap(2))."""

import ctypes
import mmap
import sys
import weakref
from typing import Any

_WORTH_A_MAPPING = 128 << 10
"""Below that a copy takes less than the page faults, and a process has only some 65,000 mappings (vm.max_map_count)."""
_FAILED = ctypes.c_void_p(-1).value


def map_privately(fd: int, offset: int, view: memoryview, anchor_type: Any) -> memoryview | None:
    """Map the bytes of `view` again, writable and private.

    Not with Python's `mmap`, which keeps a descriptor of its own for every mapping (before 3.13).

    Args:
        fd: of the shared memory.
        offset: where in it the view begins.
        view: kept, and with it the memory it pins, until nothing refers to the result any more.
        anchor_type: a ctypes array type at least as large; one for all saves making one for each size.

    Returns:
        The memory, or None where it cannot or should not be mapped.
    """
    if sys.platform != "linux" or view.nbytes < _WORTH_A_MAPPING:
        return None
    start = offset // mmap.PAGESIZE * mmap.PAGESIZE
    skipped = offset - start
    size = skipped + view.nbytes
    address = _mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, fd, start)
    if address == _FAILED:
        return None
    anchor = anchor_type.from_address(address)
    weakref.finalize(anchor, _unmap, address, size, view).atexit = False
    return memoryview(anchor).cast("B")[skipped:size]


def _unmap(address: int, size: int, _view: memoryview) -> None:
    _munmap(address, size)


_libc = ctypes.CDLL(None)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_longlong]
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
