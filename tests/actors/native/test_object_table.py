"""The table is used by all threads at once, and by garbage collections in the middle of anything."""

import gc
import sys
import threading

import pytest

from limelight.actors.cells import inbox as inbox_module
from limelight.actors.cells.inbox import LoopInbox
from limelight.actors.native.entry import INLINE, ObjectEntry
from limelight.actors.native.latch import Latch
from limelight.actors.native.object_table import ObjectTable
from limelight.actors.native.wire import WireThread
from limelight.actors.object_ref import ObjectRef
from limelight.transport.address import ProcessAddress
from tests.interrupts import interrupts

DEADLINE = 30
OWNER = ProcessAddress("f" * 32, "host")
HOME = ProcessAddress("1" * 32, "host")


@pytest.fixture
def wire():
    wire = WireThread()
    wire.start()
    yield wire
    wire.stop()


@pytest.fixture(autouse=True)
def eager_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def settled(wire):
    """Wait until the wire thread has done all it was given, and gathered what was dropped."""
    done = threading.Event()
    wire.post(lambda _: wire.loop.call_later(0.1, done.set), None)
    assert done.wait(DEADLINE)


def run_all(*functions):
    failures = []

    def guarded(function):
        try:
            function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive(), "two threads wait for each other"
    assert not failures


def test_imports_and_drops_on_many_threads_leave_nothing(wire):
    table = ObjectTable(wire, lambda *_: None, lambda _: None)
    table.attach(HOME)
    forgotten = []
    table.on_forgotten = forgotten.append
    ids = [bytes([number]) * 28 for number in range(4)]

    def import_and_drop():
        for number in range(3000):
            ref = table.imported(ids[number % 4], OWNER)
            entry = ref._entry
            assert table.is_held(entry)
            assert table.find(ref.binary()) is entry, "an entry was forgotten under a ref to it"
            if number % 7 == 0:
                circle = [ref]
                circle.append(circle)  # only a collection finds it, on whatever thread that runs
            del ref

    run_all(*[import_and_drop] * 4, lambda: [gc.collect(0) for _ in range(300)])
    gc.collect()
    settled(wire)
    assert len(table) == 0
    assert all(entry.count == 0 for entry in forgotten)


def test_results_that_are_dropped_while_they_arrive_are_freed_once(wire):
    freed = []
    table = ObjectTable(wire, lambda object_id, _: freed.append(object_id), lambda _: None)
    table.attach(HOME)

    def finish(entry):
        entry.location = "there"
        entry.complete(2, b"", "there")
        table.track(entry)
        if entry.count == 0:
            table.free_if_unused(entry)

    count = 5000
    for number in range(count):
        entry = ObjectEntry(table, number.to_bytes(28, "big"))
        ref = ObjectRef(entry.object_id, None, entry)
        wire.post(finish, entry)
        del ref, entry
    settled(wire)
    assert len(table) == 0
    assert sorted(freed) == [number.to_bytes(28, "big") for number in range(count)]


def test_no_wake_up_is_lost_between_waiting_and_becoming_ready(wire):
    table = ObjectTable(wire, lambda *_: None, lambda _: None)

    def wait_for_many():
        for _ in range(300):
            entries = [ObjectEntry(table, b"x" * 28) for _ in range(10)]
            latch = Latch(10, fail_fast=True)
            for entry in entries:
                wire.post(lambda entry: entry.complete(INLINE, b"1"), entry)
            latch.put_on(entries)
            assert latch.wait(DEADLINE)

    run_all(*[wait_for_many] * 3)


def test_an_interrupt_at_any_moment_of_a_post_leaves_no_message_unread():
    class Loop:
        woken = None

        def call_soon_threadsafe(self, run):
            self.woken = run

        call_soon = call_soon_threadsafe

    loop = Loop()
    inbox = LoopInbox(loop, lambda: [inbox.get() for _ in iter(inbox.empty, True)])
    for step in interrupts(lambda: inbox.put(1), inbox_module):
        woken, loop.woken = loop.woken, None
        if woken is not None:
            woken()
        assert inbox.empty(), f"nobody reads what an interrupt at moment {step} has left"
