"""Copying parts of any size, without stopping the other threads."""

import array
import ctypes
import threading

import pytest

from limelight.transport.shm import memory_copy
from limelight.transport.shm.memory_copy import RELEASE_GIL_ABOVE, TWO_THREADS_ABOVE, copy_part, part_size

SIZES = [0, 1, 4096, RELEASE_GIL_ABOVE - 1, RELEASE_GIL_ABOVE, TWO_THREADS_ABOVE, TWO_THREADS_ABOVE + 12_345]


def pattern(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_copies_are_exact_and_stay_within_their_place(size, kind):
    content = pattern(size)
    target = bytearray(b"\xff" * (size + 128))
    copy_part(memoryview(target)[64 : 64 + size], kind(content))
    assert target == b"\xff" * 64 + content + b"\xff" * 64


def test_a_typed_buffer_counts_its_bytes():
    numbers = memoryview(array.array("d", range(100_000)))
    assert part_size(numbers) == 800_000
    target = bytearray(800_000)
    copy_part(memoryview(target), numbers)
    assert target == numbers.tobytes()


def test_a_wrong_size_is_refused():
    with pytest.raises(ValueError, match="3 bytes does not fit a place of 4"):
        copy_part(memoryview(bytearray(4)), b"abc")


def test_a_large_part_that_is_not_contiguous_is_refused():
    strided = memoryview(bytearray(2 * RELEASE_GIL_ABOVE))[::2]
    with pytest.raises(BufferError):
        copy_part(memoryview(bytearray(RELEASE_GIL_ABOVE)), strided)


def test_one_thread_does_it_where_no_other_can_be_started(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    content = pattern(TWO_THREADS_ABOVE)
    target = bytearray(TWO_THREADS_ABOVE)
    copy_part(memoryview(target), content)
    assert target == content


def test_an_interrupted_copy_ends_before_the_interruption_goes_on(monkeypatch):
    """A cancelled task must not leave a thread behind that writes into memory somebody else is given."""
    real, entered, go = ctypes.memmove, threading.Event(), threading.Event()

    def interrupted(target, source, size):
        if threading.current_thread() is threading.main_thread():
            entered.wait(10)
            threading.Timer(0.05, go.set).start()
            raise KeyboardInterrupt
        entered.set()
        go.wait(10)
        return real(target, source, size)

    monkeypatch.setattr(memory_copy, "streaming_copy", interrupted)
    target = bytearray(TWO_THREADS_ABOVE)
    with pytest.raises(KeyboardInterrupt):
        copy_part(memoryview(target), pattern(TWO_THREADS_ABOVE))
    assert go.is_set()
    assert "limelight-copy" not in [thread.name for thread in threading.enumerate()]
