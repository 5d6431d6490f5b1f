"""The object store, as a user's program meets it: reuse, spilling, a full store, and readers under pressure."""

import os
import random
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

MB = 1_000_000
DEADLINE = 60.0


@pytest.fixture
def start():
    import limelight as ll

    def init(store_bytes, **settings):
        ll.init(num_cpus=3, object_store_memory=store_bytes, log_to_driver=False, _system_config=settings)
        return ll

    yield init
    ll.shutdown()


def block(seed, size):
    """Numbers that no other seed gives, and that do not compress or repeat."""
    return np.random.default_rng(seed).integers(0, 1 << 62, size=size // 8)


def checksum(array):
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8))


def spilled(ll):
    """Files in the session's spill folder."""
    folder = Path(ll.init(ignore_reinit_error=True)["session_dir"]) / "spill"
    return [path for path in folder.rglob("*") if path.is_file()]


def eventually(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition has not come about"
        time.sleep(0.02)


FULL_SIZE = [
    pytest.param(50e6, 10 * MB, id="50 MB"),
    pytest.param(500e6, 100 * MB, id="500 MB", marks=pytest.mark.slow),
]
"""Store and object; each test moves several times the store's size."""


@pytest.mark.parametrize(("store", "size"), FULL_SIZE)
def test_twenty_puts_of_a_fifth_of_the_store_while_references_are_dropped(start, store, size):
    ll = start(store)
    for seed in range(20):
        ref = ll.put(np.full(size // 8, seed))
        array = ll.get(ref)
        assert array[0] == array[-1] == seed
        assert (array == seed).all()
        assert not array.flags.writeable
        del array, ref
    assert spilled(ll) == []


@pytest.mark.parametrize("size", [MB, 20 * MB])
def test_memory_of_a_dropped_object_serves_the_next_one(start, size):
    ll = start(100e6)
    places = set()
    for seed in range(20):
        ref = ll.put(np.full(size // 8, seed))
        places.add(ll.get(ref).__array_interface__["data"][0])
        del ref
    # Memory is granted for eight objects at most; before it is full, a program can be quicker than the wire thread.
    assert len(places) <= 8, "the first touch of memory costs several times the copy"


@pytest.mark.parametrize(("store", "size"), FULL_SIZE)
def test_four_times_the_store_while_references_are_kept(start, store, size):
    ll = start(store)
    refs, sums = [], []
    for seed in range(20):
        array = block(seed, size)
        refs.append(ll.put(array))
        sums.append(checksum(array))
        del array
    assert len(spilled(ll)) >= 10
    order = list(range(20))
    random.Random(1).shuffle(order)
    for index in [*range(20), *order]:
        assert checksum(ll.get(refs[index])) == sums[index]
    del refs
    eventually(lambda: not spilled(ll))


@pytest.mark.parametrize(("store", "size"), FULL_SIZE)
def test_results_of_four_times_the_store(start, store, size):
    ll = start(store)

    @ll.remote
    def make(seed):
        return block(seed, size)

    @ll.remote
    def read(array):
        return checksum(array)

    refs = [make.remote(seed) for seed in range(20)]
    expected = [checksum(block(seed, size)) for seed in range(20)]
    assert ll.get([read.remote(ref) for ref in refs], timeout=DEADLINE) == expected
    assert [checksum(ll.get(ref)) for ref in refs] == expected
    del refs
    eventually(lambda: not spilled(ll))


def test_a_full_store_says_who_holds_it_and_goes_on_when_there_is_room(start):
    ll = start(50e6, oom_grace_period_s=0.5)
    held = []

    def fill():
        held.extend(ll.get(ll.put(block(seed, 10 * MB))) for seed in range(10))

    with pytest.raises(ll.exceptions.ObjectStoreFullError) as caught:
        fill()
    assert len(held) >= 4
    told = str(caught.value)
    assert f"full: driver (pid {os.getpid()}) needs" in told
    assert "in use by readers" in told
    assert f"Objects by owner: driver (pid {os.getpid()}) " in told
    assert "What to do: drop references" in told
    for seed, array in enumerate(held):
        assert checksum(array) == checksum(block(seed, 10 * MB))
    held.clear()
    del array
    again = block(99, 10 * MB)
    assert checksum(ll.get(ll.put(again))) == checksum(again)


def test_a_full_store_names_the_actor_that_holds_it_and_says_so_soon(start):
    ll = start(50e6)

    @ll.remote
    class Hoarder:
        def fill(self):
            self.held = []
            try:
                for seed in range(10):
                    self.held.append(ll.get(ll.put(block(seed, 10 * MB))))
            except ll.exceptions.ObjectStoreFullError as error:
                return str(error), os.getpid()

    hoarder = Hoarder.remote()
    _, pid = ll.get(hoarder.fill.remote(), timeout=DEADLINE)
    began = time.monotonic()
    with pytest.raises(ll.exceptions.ObjectStoreFullError) as caught:
        ll.put(block(0, 20 * MB))
    assert time.monotonic() - began < 15, "not as long as for a disk that is slow"
    told = str(caught.value)
    assert f"Objects by owner: Hoarder (pid {pid})" in told
    assert f"Objects by reader: Hoarder (pid {pid})" in told


def test_what_the_driver_still_reads_of_an_earlier_session_is_not_counted(start):
    ll = start(50e6)
    kept = ll.get(ll.put(block(1, 10 * MB)))
    ll.shutdown()
    ll = start(50e6)
    held = [ll.get(ll.put(block(seed, 10 * MB))) for seed in range(4)]
    with pytest.raises(ll.exceptions.ObjectStoreFullError, match=rf"reader: driver \(pid {os.getpid()}\) 38.2 MiB\."):
        ll.put(block(0, 20 * MB))
    assert checksum(kept) == checksum(block(1, 10 * MB))
    assert len(held) == 4


def test_a_put_waits_for_a_reader_to_let_go(start):
    ll = start(50e6)

    @ll.remote
    def hold(*arrays):
        time.sleep(0.5)
        return sum(checksum(array) for array in arrays)

    refs = [ll.put(block(seed, 10 * MB)) for seed in range(4)]
    holding = hold.remote(*refs)
    more = [ll.put(block(seed, 10 * MB)) for seed in range(4, 8)]
    assert ll.get(holding, timeout=DEADLINE) == sum(checksum(block(seed, 10 * MB)) for seed in range(4))
    assert [checksum(ll.get(ref)) for ref in more] == [checksum(block(seed, 10 * MB)) for seed in range(4, 8)]


def test_an_object_larger_than_the_store_is_refused_at_once_wherever_it_is_made(start):
    ll = start(50e6)

    @ll.remote
    def make():
        return np.zeros(60 * MB // 8)

    with pytest.raises(ll.exceptions.ObjectStoreFullError, match=r"can never fit.*object_store_memory"):
        ll.put(np.zeros(60 * MB // 8))
    with pytest.raises(ll.exceptions.ObjectStoreFullError, match=r"can never fit.*object_store_memory"):
        ll.get(make.remote(), timeout=DEADLINE)
    assert ll.get(ll.put(np.ones(MB))).sum() == MB


@pytest.mark.parametrize("seconds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_no_reader_ever_sees_memory_that_is_used_again(start, seconds):
    """Processes write, hand over, hold, read again and drop, through a store that a third of it all would fill."""
    ll = start(60e6)

    @ll.remote(num_cpus=0)
    class Peer:
        def __init__(self, seed):
            self.random = random.Random(seed)
            self.held = []
            self.peers = []
            self.reads = 0

        def meet(self, peers):
            self.peers = peers

        def work(self, seconds):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                action = self.random.random()
                if action < 0.4 or not self.held:
                    seed = self.random.randrange(1 << 40)
                    array = block(seed, self.random.choice([200_000, MB, 4 * MB]))
                    self.keep([ll.put(array), checksum(array)])
                elif action < 0.6:
                    self.random.choice(self.peers).take.remote(self.random.choice(self.held))
                else:
                    self.read(self.random.choice(self.held))
            for pair in self.held:
                self.read(pair)
            return self.reads

        def take(self, pair):
            self.keep(pair)
            self.read(pair)

        def keep(self, pair):
            self.held.append(pair)
            while len(self.held) > 15:
                del self.held[self.random.randrange(len(self.held))]

        def read(self, pair):
            ref, expected = pair
            array = ll.get(ref, timeout=DEADLINE)
            view = array[self.random.randrange(len(array)) :]
            assert checksum(array) == expected, "the bytes are another object's"
            before = checksum(view)
            time.sleep(self.random.random() * 0.01)  # others reuse memory meanwhile, but not this
            del array
            assert checksum(view) == before, "the bytes changed under a reader"
            self.reads += 1

    peers = [Peer.remote(seed) for seed in range(3)]
    ll.get([peer.meet.remote(peers) for peer in peers])
    reads = ll.get([peer.work.remote(seconds) for peer in peers], timeout=seconds + DEADLINE)
    assert min(reads) > 20
