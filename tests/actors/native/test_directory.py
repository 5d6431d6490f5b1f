"""Which node an object is copied from: the one from which it comes soonest, and never one that waits for the asker."""

from limelight.actors.contract import CORE, CopyDropped, FindSource, Location, SourceFound, encode
from limelight.actors.native.copies import Copies
from limelight.actors.native.copy_tree import LAG
from limelight.actors.native.directory import Directory
from limelight.actors.native.entry import STORED, ObjectEntry
from limelight.transport.protocol import Call

SIZE = 1 << 30
S, A, B, C, D = (letter * 28 for letter in (b"s", b"a", b"b", b"c", b"d"))


class Owner:
    """An object, its owner's directory, and what that does."""

    def __init__(self, *whole: bytes, size: int = SIZE) -> None:
        self.entries: dict[bytes, ObjectEntry] = {}
        self.entry = self.own(b"o" * 28, *whole, size=size)
        self.freed: list[bytes] = []
        self.directory = Directory(self.entries.get, lambda _, place: self.freed.append(place.node_id), self.recover)

    def own(self, object_id: bytes, *whole: bytes, size: int = SIZE) -> ObjectEntry:
        entry = self.entries[object_id] = ObjectEntry(None, object_id)  # pyright: ignore[reportArgumentType]
        first, *others = [Location(node, 0, size) for node in whole]
        entry.state, entry.location, entry.copies = STORED, first, Copies(*others)
        return entry

    def recover(self, entry: ObjectEntry, _: Location | None) -> None:
        assert entry.copies
        entry.location = entry.copies.pop()

    def source(
        self,
        node: bytes,
        avoid: tuple[bytes, ...] = (),
        lost: tuple[bytes, ...] = (),
        entry: ObjectEntry | None = None,
    ) -> SourceFound:
        entry = entry or self.entry
        return self.directory.source_for(entry, FindSource(entry.object_id, node, avoid, lost), node.hex())

    def dropped(self, place: Location) -> None:
        self.directory.on_dropped(None, Call(0, CORE, "CopyDropped", encode(CopyDropped(self.entry.object_id, place))))


def test_those_who_want_a_large_object_at_once_form_a_chain():
    owner = Owner(S)
    assert [owner.source(node).node_id for node in (A, B, C, D)] == [S, A, B, C]
    assert owner.source(A, avoid=(S,)).node_id == b"", "all others wait for it"


def test_a_small_object_spreads_like_a_tree():
    owner = Owner(S, size=LAG)
    assert [owner.source(node).node_id for node in (A, B, C, D)] == [S, S, A, B]


def test_whole_copies_are_preferred_to_parts_and_idle_ones_to_busy_ones():
    owner = Owner(S, A)
    assert owner.source(B) == SourceFound(S, False, SIZE)
    assert owner.source(C) == SourceFound(A, False, SIZE)
    assert owner.source(D) == SourceFound(B, True, SIZE)
    owner.directory.note_copy(owner.entry.object_id, Location(B, 0, SIZE))
    assert owner.source(D) == SourceFound(S, False, SIZE), "B has got it from there: now it is idle"


def test_a_node_that_asks_again_counts_once():
    owner = Owner(S)
    for _ in range(3):
        assert owner.source(A).node_id == S
    assert owner.source(B).node_id == A


def test_who_has_given_up_or_died_is_nobody_s_source():
    owner = Owner(S)
    owner.source(A)
    owner.directory.end(owner.entry.object_id, A)
    assert owner.source(B).node_id == S
    owner.directory.process_lost(B.hex())
    assert not owner.directory.copying(owner.entry.object_id)
    assert not len(owner.directory)


def test_of_a_process_that_is_lost_all_pulls_end_and_no_others():
    owner = Owner(S)
    other = owner.own(b"p" * 28, S)
    for entry in (owner.entry, other):
        for node in (A, B):
            owner.source(node, entry=entry)
    owner.directory.process_lost(A.hex())
    assert [list(owner.directory.copying(entry.object_id)) for entry in (owner.entry, other)] == [[B], [B]]


def test_what_is_freed_while_it_is_copied_is_forgotten_when_that_ends():
    owner = Owner(S)
    owner.source(A)
    del owner.entries[owner.entry.object_id]
    assert len(owner.directory) == 1
    owner.directory.note_copy(owner.entry.object_id, Location(A, 0, SIZE))
    assert not len(owner.directory)
    assert owner.freed == [A], "nobody else would free it"


def test_a_copy_that_a_node_makes_anew_takes_the_place_of_the_one_before():
    owner = Owner(S, A)
    for offset in (1, 2, 3):
        owner.directory.note_copy(owner.entry.object_id, Location(B, offset, SIZE))
    assert [place.offset for place in owner.entry.copies if place.node_id == B] == [1, 3], (
        "the first may be no copy, but made there"
    )
    owner.dropped(Location(B, 3, SIZE))
    owner.dropped(Location(B, 3, SIZE))
    assert list(owner.entry.copies) == [Location(A, 0, SIZE), Location(B, 1, SIZE)]


def test_a_lost_primary_is_replaced_by_a_copy_and_freed_where_it_was():
    owner = Owner(S, A)
    assert owner.source(B, avoid=(S,), lost=(S,)).node_id == A
    assert owner.entry.location.node_id == A
    assert owner.freed == [S]


def test_a_lost_copy_is_forgotten_and_freed():
    owner = Owner(S, A)
    assert owner.source(B, avoid=(A,), lost=(A,)).node_id == S
    assert not owner.entry.copies
    assert owner.freed == [A]


def test_the_only_copy_is_kept_until_somebody_misses_it():
    owner = Owner(S)
    assert owner.source(B, avoid=(S,), lost=(S,)) == SourceFound()
    assert owner.entry.location.node_id == S
