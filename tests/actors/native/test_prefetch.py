"""What a process will read is told to its node manager: once, in time, and only what lies elsewhere."""

from types import SimpleNamespace

import pytest

from limelight.actors.contract import Dependency, ExportedRef, Invocation, Location, Value, WantObjects
from limelight.actors.native.entry import INLINE, STORED, ObjectEntry
from limelight.actors.native.prefetch import Prefetch
from limelight.actors.object_ref import ObjectRef
from limelight.transport.address import ProcessAddress

HERE, THERE = b"h" * 28, b"t" * 28
OWNER = ProcessAddress("owner", "host")
ME = ProcessAddress("me", "host")


class Process:
    """As much of a process as prefetching needs; keeps what its node manager is told."""

    def __init__(self) -> None:
        self.told: list[WantObjects] = []
        self.identity = SimpleNamespace(node_id=HERE)
        self.wire = SimpleNamespace(post=lambda function, argument: function(argument))
        self.links = SimpleNamespace(notify=lambda _to, _actor, body: self.told.append(body))
        self.node = ProcessAddress("node", "host")
        self.address = ME
        self.prefetch = Prefetch(self)  # pyright: ignore[reportArgumentType]

    @property
    def wanted(self) -> list[bytes]:
        return [item.object_id for told in self.told for item in told.objects]


@pytest.fixture
def process() -> Process:
    return Process()


class Table:
    """No ref of these tests has an end that matters."""

    def ref_dropped(self, entry, uncounted=False) -> None: ...


def ref(letter: bytes, node: bytes = THERE, state: int = STORED, owner: ProcessAddress | None = OWNER) -> ObjectRef:
    entry = ObjectEntry(Table(), letter * 28, owner)  # pyright: ignore[reportArgumentType]
    entry.state = state
    entry.location = Location(node, 0, 1 << 20) if state == STORED else None
    return ObjectRef(entry.object_id, owner, entry)


def argument(letter: bytes, node: bytes = THERE) -> Dependency:
    return Dependency(Value("s", b"", Location(node, 0, 1 << 20)), ExportedRef(letter * 28, OWNER))


def test_the_first_that_is_elsewhere_brings_the_others_along(process):
    refs = [ref(b"a", HERE), ref(b"b"), ref(b"c", state=INLINE), ref(b"d"), ref(b"e", owner=None)]
    with process.prefetch.reading(refs):
        assert not process.told, "nothing is said of objects that turn out to be here"
        process.prefetch.missed()
        process.prefetch.missed()
    assert process.wanted == [b"b" * 28, b"d" * 28, b"e" * 28]
    (told,) = process.told
    assert told.soon
    assert told.objects[-1].owner == ME


def test_an_object_read_by_itself_brings_nothing_along(process):
    process.prefetch.missed()
    with process.prefetch.reading([ref(b"a")]):
        process.prefetch.missed()
    assert not process.told


def test_what_was_here_before_is_not_asked_for_ahead(process):
    read = ref(b"a")
    read._entry.near = Location(HERE, 0, 1 << 20)
    with process.prefetch.reading([read, ref(b"b")]):
        process.prefetch.missed()
    assert process.wanted == [b"b" * 28]


def test_arguments_of_a_task_that_waits_here_are_wanted_soon(process):
    large = argument(b"l")
    small = Dependency(Value("i", b"small"))
    waiting = Invocation(b"t" * 24, 1, b"", (argument(b"a"), small, argument(b"h", HERE)), stored_args=large)
    process.prefetch.arrived(waiting)
    assert process.wanted == [b"a" * 28, b"l" * 28]
    assert process.told[0].soon


def test_what_is_found_ready_is_wanted_some_day_and_said_once(process):
    refs = [ref(b"a"), ref(b"b", HERE)]
    process.prefetch.ready(refs)
    process.prefetch.ready(refs)
    assert process.wanted == [b"a" * 28]
    assert not process.told[0].soon


def test_a_time_limit_is_that_of_the_get_that_reads(process):
    assert process.prefetch.time_left() is None
    with process.prefetch.reading([ref(b"a")], deadline=0.0):
        assert process.prefetch.time_left() == pytest.approx(0.001)
    assert process.prefetch.time_left() is None
