"""Copying large buffers into shared memory without holding the interpreter up.

Measured on 2 cores, 100 MiB into warm pages: assignment to a memoryview 6.7 GiB/s (and no other thread runs meanwhile),
`memmove` 6.7, `memmove` by two threads 11 to 12, `pwrite` 4.6; past the caches (`streaming_copy.py`) 11 by one thread
and 19 by two. Into pages never touched: 1.8, 1.8, 4.1 and 3.3. Two threads are ahead from about 4 MiB.
"""

import ctypes
import threading

from .streaming_copy import streaming_copy

Part = bytes | bytearray | memoryview

RELEASE_GIL_ABOVE = 256 << 10
"""From this size on (about 30 us of copying) other threads may run meanwhile."""
TWO_THREADS_ABOVE = 8 << 20
"""From this size on two threads share the copy, and it goes past the caches: nobody will find so much in them."""


class _PyBuffer(ctypes.Structure):
    """CPython's `Py_buffer` (in the stable ABI since 3.11): the only way to the address of a read-only buffer."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int]
_get_buffer.restype = ctypes.c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [ctypes.POINTER(_PyBuffer)]
_release_buffer.restype = None


def part_size(part: Part) -> int:
    """Bytes in a part."""
    return part.nbytes if isinstance(part, memoryview) else len(part)


def address_of(part: Part) -> int:
    """Where a contiguous buffer begins, read-only or not; valid as long as the caller keeps it.

    Raises:
        BufferError: it is not contiguous.
    """
    buffer = _PyBuffer()
    _get_buffer(part, ctypes.byref(buffer), 0)
    try:
        return int(buffer.buf or 0)
    finally:
        _release_buffer(ctypes.byref(buffer))


def copy_part(destination: memoryview, part: Part) -> None:
    """Copy `part` into `destination`, a writable byte view of the same size.

    The caller's thread waits; other threads run while a large part is copied.

    Raises:
        ValueError: the sizes differ.
        BufferError: the part is not contiguous.
    """
    size = destination.nbytes
    if size != part_size(part):
        raise ValueError(f"a part of {part_size(part)} bytes does not fit a place of {size} bytes")
    if size < RELEASE_GIL_ABOVE:
        destination[:] = memoryview(part).cast("B")
        return
    target = ctypes.addressof(ctypes.c_char.from_buffer(destination))
    source = _PyBuffer()
    _get_buffer(part, ctypes.byref(source), 0)
    try:
        if size < TWO_THREADS_ABOVE:
            ctypes.memmove(target, source.buf, size)
        else:
            _copy_by_two(target, int(source.buf or 0), size)
    finally:
        _release_buffer(ctypes.byref(source))


def _copy_by_two(target: int, source: int, size: int) -> None:
    half = size // 2 & ~4095

    def copy_tail() -> None:
        streaming_copy(target + half, source + half, size - half)

    # A thread a copy costs 50 us of the milliseconds that the copy takes, and leaves nothing behind to stop or to fork.
    helper = threading.Thread(target=copy_tail, name="limelight-copy", daemon=True)
    try:
        helper.start()
    except RuntimeError:  # the interpreter is ending, or the process may have no more threads
        streaming_copy(target, source, size)
        return
    try:
        streaming_copy(target, source, half)
    finally:
        _join(helper)


def _join(helper: threading.Thread) -> None:
    """Wait for the thread, also if a cancelled task's exception arrives: it must not write into a range given up."""
    interruption: BaseException | None = None
    while helper.is_alive():
        try:
            helper.join()
        except BaseException as error:  # noqa: BLE001 - raised again below, once the copy has ended
            interruption = error
    if interruption is not None:
        raise interruption
