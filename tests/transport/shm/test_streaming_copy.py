"""Copying past the caches."""

import ctypes
import os
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limelight.transport.shm import streaming_copy as module
from limelight.transport.shm.streaming_copy import BLOCK, PAGE, streaming_copy


def address(buffer):
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def place(size):
    """Room for `size` bytes at a page, with canaries around it: the buffer and where the room begins."""
    buffer = bytearray(b"\xaa" * (size + 2 * PAGE))
    return buffer, -address(buffer) % PAGE or PAGE


@given(
    size=st.one_of(
        st.integers(0, 300), st.integers(BLOCK - 20, BLOCK + 20), st.integers(3 * BLOCK - 100, 3 * BLOCK + 100)
    ),
    source_shift=st.integers(0, 70),
    destination_shift=st.integers(0, 70),
    seed=st.binary(min_size=1, max_size=8),
)
def test_every_byte_arrives_and_no_other_is_touched(size, source_shift, destination_shift, seed):
    content = (seed * (size + source_shift + 1))[: size + source_shift] + b"\x00"
    pattern = bytes(a ^ (i * 7 & 0xFF) for i, a in enumerate(content))
    source = bytearray(pattern)
    buffer, begin = place(size + destination_shift)
    begin += destination_shift
    streaming_copy(address(buffer) + begin, address(source) + source_shift, size)
    assert buffer[begin : begin + size] == pattern[source_shift : source_shift + size]
    assert set(buffer[:begin]) | set(buffer[begin + size :]) <= {0xAA}
    assert source == pattern


def test_threads_copy_side_by_side():
    source = bytearray(os.urandom(16 * BLOCK))
    targets = [place(len(source)) for _ in range(4)]
    threads = [
        threading.Thread(target=streaming_copy, args=(address(buffer) + begin, address(source), len(source)))
        for buffer, begin in targets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(buffer[begin : begin + len(source)] == source for buffer, begin in targets)


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="only x86-64 Linux has it")
def test_it_is_in_use_where_the_processor_has_it():
    assert streaming_copy is not ctypes.memmove


def test_where_the_system_forbids_to_make_code_there_is_memmove(monkeypatch):
    class Forbidding:
        @staticmethod
        def mprotect(*_):
            return -1

    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: Forbidding)
    assert module._streaming() is None
