"""Ctrl-C in the middle of putting or importing: what nobody got a ref to is not kept."""

import threading

import pytest

import limelight as ll
from limelight.actors import object_ref, runtime
from limelight.actors.cells import inbox
from limelight.actors.native import entry, object_table, store_client, values
from limelight.actors.native import runtime as native_runtime
from limelight.actors.native.object_table import ObjectTable
from limelight.actors.native.wire import WireThread
from limelight.transport.address import ProcessAddress
from limelight.transport.shm import arena, nursery
from tests.interrupts import interrupts

DEADLINE = 30
LARGE = b"x" * 200_000
OWNER = ProcessAddress("f" * 32, "host")
HOME = ProcessAddress("1" * 32, "host")


def settle(wire):
    """Wait until the wire thread has done all it was given, and gathered what was dropped."""
    done = threading.Event()
    wire.post(lambda _: wire.loop.call_later(0.1, done.set), None)
    assert done.wait(DEADLINE)


@pytest.mark.parametrize("known", [False, True])
def test_an_import_that_is_interrupted_leaves_no_entry(known):
    wire = WireThread()
    wire.start()
    table = ObjectTable(wire, lambda *_: None, lambda _: None)
    table.attach(HOME)
    first = table.imported(b"1" * 28, OWNER) if known else None
    for step in interrupts(lambda: table.imported(b"1" * 28, OWNER), object_table, object_ref, entry, inbox):
        assert first is None or first._entry.count == 1, f"interrupted at moment {step}"
    del first
    settle(wire)
    wire.stop()
    assert len(table) == 0


@pytest.mark.usefixtures("ll_local")
def test_a_put_that_is_interrupted_leaves_nothing_in_the_store():
    hub = runtime.current().hub
    ll.get(ll.put(LARGE))
    settle(hub.wire)
    before = len(hub.table)
    store, told, freed = hub.store, set(), set()
    tell, free = store._tell_of, store.free
    store._tell_of = lambda kept, dropped: (
        told.update((item.object_id, item.offset) for item in kept),
        tell(kept, dropped),
    )
    store.free = lambda object_id, place: (freed.add((object_id, place.offset)), free(object_id, place))
    hub.table._free_stored = store.free
    modules = (native_runtime, values, store_client, object_table, object_ref, entry, inbox, nursery, arena)
    for step in interrupts(lambda: ll.put(LARGE), *modules):
        settle(hub.wire)
        assert len(hub.table) == before, f"interrupted at moment {step}"
        assert not store._fresh, f"interrupted at moment {step}"
        assert told <= freed, f"interrupted at moment {step}"
    told.clear()
    ref = ll.put(LARGE)
    settle(hub.wire)
    assert [object_id for object_id, _ in told] == [ref.binary()], "the node is not told of new objects any more"
