"""Pins: memory is never reused while anything made of an object's views is alive, in whatever process."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from limelight.transport.shm.arena import PAGE, Arena
from limelight.transport.shm.error import ObjectMovedError
from limelight.transport.shm.reclaimer import Reclaimer

OBJECT, OTHER, OWNER = b"o" * 28, b"p" * 28, b"w" * 16
CONTENT = bytes(range(256)) * 400


class Store:
    """An arena with one object in it, and the means to take its memory back."""

    def __init__(self, directory=None):
        self.arena = Arena.create(8 << 20, directory)
        self.reclaimer = Reclaimer(self.arena)
        self.size = self.arena.write(0, 1, OBJECT, OWNER, [b"meta", CONTENT])

    def read(self):
        return self.arena.read(OBJECT, 0)[1]

    def reclaim(self):
        return self.reclaimer.reclaim(0, self.size)

    def close(self):
        self.reclaimer.close()
        self.arena.close()


@pytest.fixture(params=["memfd", "file"])
def any_store(request, tmp_path):
    made = Store(str(tmp_path) if request.param == "file" else None)
    yield made
    made.close()


@pytest.fixture
def store():
    made = Store()
    yield made
    made.close()


DERIVED = {
    "a slice of a slice": lambda view: view[10:20_000][5:100][1:2],
    "a numpy array": lambda view: np.frombuffer(view, np.uint8),
    "a slice of a reshaped array": lambda view: np.frombuffer(view, np.uint16).reshape(2, -1)[1:, 5:],
    "an Arrow array": lambda view: pa.Array.from_buffers(pa.uint8(), 1000, [None, pa.py_buffer(view)]).slice(5, 9),
    "a cast view": lambda view: view[:800].cast("d"),
    "an iterator": iter,
}


@pytest.mark.parametrize("derive", DERIVED.values(), ids=DERIVED.keys())
def test_whatever_is_made_of_a_view_keeps_the_memory(any_store, derive):
    derived = derive(any_store.read())
    gc.collect()
    assert not any_store.reclaim()
    del derived
    gc.collect()
    assert any_store.reclaim()


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_a_torch_tensor_keeps_the_memory(store):
    torch = pytest.importorskip("torch", reason="torch is not installed: there may be no wheel for this Python")
    tensor = torch.frombuffer(store.read(), dtype=torch.uint8)[10:]
    assert not store.reclaim()
    assert int(tensor[0]) == 10
    del tensor
    gc.collect()
    assert store.reclaim()


def test_views_are_read_only(store):
    view = store.read()
    with pytest.raises(TypeError):
        view[0] = 1
    assert not np.frombuffer(view, np.uint8).flags.writeable


def test_many_reads_share_one_pin_until_the_last_is_gone(any_store):
    views = [any_store.read() for _ in range(5)]
    assert any_store.arena.pins.count == 1
    while views:
        assert not any_store.reclaim()
        views.pop()
    assert any_store.reclaim()
    assert any_store.arena.pins.count == 0


def test_a_reclaimed_object_cannot_be_read_again(any_store):
    any_store.read()
    assert any_store.reclaim()
    with pytest.raises(ObjectMovedError, match="ask the store where it is"):
        any_store.read()
    assert any_store.arena.pins.count == 0


@pytest.mark.parametrize("offset", [-1, 8, PAGE, 1 << 40], ids=["negative", "inside", "empty", "beyond"])
def test_a_wrong_place_is_told_and_locks_nothing(any_store, offset):
    with pytest.raises(ObjectMovedError):
        any_store.arena.read(OBJECT, offset)
    with pytest.raises(ObjectMovedError):
        any_store.arena.read(OTHER, 0)
    assert any_store.reclaim()


def test_an_unsealed_object_cannot_be_read(store):
    store.arena.begin(1 << 20, 1, OTHER, OWNER, [10])
    with pytest.raises(ObjectMovedError):
        store.arena.read(OTHER, 1 << 20)
    store.arena.seal(1 << 20)
    assert len(store.arena.read(OTHER, 1 << 20)) == 1


def test_an_object_that_moves_between_look_and_lock_is_let_go_without_its_neighbours(store, monkeypatch):
    """The range was recycled meanwhile: two other objects lie there, one of which this process pins."""
    pins = store.arena.pins
    real = pins._share
    held = []

    def recycled_meanwhile(lock, object_id, offset, size):
        monkeypatch.setattr(pins, "_share", real)
        assert store.reclaim()
        store.arena.write(PAGE, 2, OTHER, OWNER, [b"x" * PAGE])
        pins._inside = False
        held.append(pins.read(OTHER, PAGE))
        pins._inside = True
        real(lock, object_id, offset, size)

    monkeypatch.setattr(pins, "_share", recycled_meanwhile)
    with pytest.raises(ObjectMovedError):
        store.read()
    assert store.reclaimer.reclaim(0, PAGE)
    assert store.reclaimer.reclaim(3 * PAGE, store.size - 3 * PAGE)
    assert not store.reclaimer.reclaim(PAGE, 2 * PAGE)
    held.clear()
    assert store.reclaimer.reclaim(PAGE, 2 * PAGE)


def test_a_reader_during_reclaiming_is_told_that_the_object_moved(store):
    assert store.reclaimer._lock.try_exclude(0, store.size)
    with pytest.raises(ObjectMovedError):
        store.read()
    store.reclaimer._lock.release(0, store.size)
    assert len(store.read()) == len(CONTENT)


def test_reading_in_a_finalizer_that_interrupts_a_read(store, monkeypatch):
    """The garbage collector may run user code in the middle of anything."""
    store.arena.write(1 << 20, 1, OTHER, OWNER, [b"other"])
    pins = store.arena.pins
    real, nested = pins._share, []

    def interrupted(lock, object_id, offset, size):
        monkeypatch.setattr(pins, "_share", real)
        nested.append(pins.read(OTHER, 1 << 20))
        nested.append(pins.read(OBJECT, 0))
        real(lock, object_id, offset, size)

    monkeypatch.setattr(pins, "_share", interrupted)
    view = store.read()
    del view
    assert not store.reclaim()
    assert not store.reclaimer.reclaim(1 << 20, PAGE)
    nested.clear()
    assert store.reclaim()
    assert store.reclaimer.reclaim(1 << 20, PAGE)


def test_an_interrupted_read_leaves_no_lock(store, monkeypatch):
    pins = store.arena.pins
    real = pins._share

    def interrupted(*args):
        real(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(pins, "_share", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.read()
    monkeypatch.setattr(pins, "_share", real)
    assert pins.count == 0
    assert store.reclaim()


def test_views_in_garbage_cycles_are_released_by_the_collector(store):
    class Node:
        pass

    for _ in range(50):
        node = Node()
        node.me, node.view = node, store.read()
    del node
    gc.collect()
    assert store.reclaim()


def test_threads_reading_and_dropping_lose_no_pin(store):
    stop = time.monotonic() + 1.0
    failures = []

    def reader():
        kept = []
        while time.monotonic() < stop:
            try:
                kept.append(store.read())
            except ObjectMovedError:  # just then it was taken back
                if kept:
                    failures.append("taken back under a live view")
                continue
            if len(kept) > 3:
                kept.pop(0)
            if store.arena.pins.count != 1:
                failures.append("a live view without a pin")
        kept.clear()

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    while time.monotonic() < stop - 0.2:
        if store.reclaim():  # it may happen only when no view is alive; a new object takes its place
            store.arena.write(0, 1, OBJECT, OWNER, [b"meta", CONTENT])
    for thread in threads:
        thread.join()
    assert not failures
    assert store.arena.pins.count == 0
    assert store.reclaim()


READER = """
import sys, msgspec
from limelight.transport.shm.arena import Arena, ArenaLocation
arena = Arena.attach(msgspec.msgpack.decode(bytes.fromhex(sys.argv[1]), type=ArenaLocation))
view = arena.read(b"o" * 28, 0)[1]
print("pinned", flush=True)
for line in sys.stdin:
    if line == "drop\\n":
        del view
        print("dropped", flush=True)
"""


@pytest.fixture
def reader(any_store):
    location = msgspec.msgpack.encode(any_store.arena.location).hex()
    process = subprocess.Popen(
        [sys.executable, "-c", READER, location], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "pinned\n"
    yield process
    process.kill()
    process.communicate()


def test_another_process_s_views_count(any_store, reader):
    assert not any_store.reclaim()
    reader.stdin.write("drop\n")
    reader.stdin.flush()
    assert reader.stdout.readline() == "dropped\n"
    assert any_store.reclaim()


def test_a_killed_reader_pins_nothing(any_store, reader):
    assert not any_store.reclaim()
    reader.send_signal(signal.SIGKILL)
    reader.wait()
    assert any_store.reclaim()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking is what is tested
def test_a_forked_child_keeps_its_pins_for_itself(store):
    view = store.read()
    ready, child_ready = os.pipe()
    wait, release = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(child_ready, b"1")
        os.close(release)
        os.read(wait, 1)
        os._exit(0 if bytes(view) == CONTENT else 1)
    os.close(wait)
    os.read(ready, 1)
    del view
    assert store.arena.pins.count == 0
    assert not store.reclaim(), "the child still has its view"
    os.close(release)
    assert os.waitpid(child, 0)[1] == 0
    assert store.reclaim()
    os.close(ready)
    os.close(child_ready)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking is what is tested
def test_a_forked_child_s_release_leaves_the_parent_s_pin(store):
    view = store.read()
    child = os.fork()
    if child == 0:
        del view
        os._exit(0 if store.arena.pins.count == 0 and len(store.read()) == len(CONTENT) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not store.reclaim()
    del view
    assert store.reclaim()


def test_an_object_is_dropped_with_its_last_view_at_once(store):
    """Nobody has to call anything for memory to come back."""
    view = store.read()
    gone = weakref.ref(view)
    del view
    assert gone() is None
    assert store.arena.pins.count == 0


def test_looking_at_places_that_hold_nothing_takes_no_memory():
    arena = Arena.create(8 << 20)
    for page in range(100):
        with pytest.raises(ObjectMovedError):
            arena.read(OBJECT, page * PAGE)
    assert arena.resident_bytes() == 0
    arena.close()
