"""Which node an object is copied from: the one from which it comes soonest, and never one that waits for the asker."""

from hypothesis import given
from hypothesis import strategies as st

from limelight.actors.contract import FindSource, Location, SourceFound
from limelight.actors.native.directory import LAG, Copying, Directory, choose
from limelight.actors.native.entry import STORED, ObjectEntry

SIZE = 1 << 30
S, A, B, C, D = (letter * 28 for letter in (b"s", b"a", b"b", b"c", b"d"))


class Owner:
    """An object, its owner's directory, and what that does."""

    def __init__(self, *whole: bytes, size: int = SIZE) -> None:
        self.entry = ObjectEntry(None, b"o" * 28)  # pyright: ignore[reportArgumentType]
        first, *others = [Location(node, 0, size) for node in whole]
        self.entry.state, self.entry.location, self.entry.copies = STORED, first, others
        self.freed: list[bytes] = []
        self.directory = Directory(
            {self.entry.object_id: self.entry}.get, lambda _, place: self.freed.append(place.node_id), self.recover
        )

    def recover(self, entry: ObjectEntry, _: Location | None) -> None:
        assert entry.copies
        entry.location = entry.copies.pop()

    def source(self, node: bytes, avoid: tuple[bytes, ...] = (), lost: tuple[bytes, ...] = ()) -> SourceFound:
        asked = FindSource(self.entry.object_id, node, avoid, lost)
        return self.directory.source_for(self.entry, asked, node.hex())


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


def test_a_lost_primary_is_replaced_by_a_copy_and_freed_where_it_was():
    owner = Owner(S, A)
    assert owner.source(B, avoid=(S,), lost=(S,)).node_id == A
    assert owner.entry.location.node_id == A
    assert owner.freed == [S]


def test_a_lost_copy_is_forgotten_and_freed():
    owner = Owner(S, A)
    assert owner.source(B, avoid=(A,), lost=(A,)).node_id == S
    assert owner.entry.copies == []
    assert owner.freed == [A]


def test_the_only_copy_is_kept_until_somebody_misses_it():
    owner = Owner(S)
    assert owner.source(B, avoid=(S,), lost=(S,)) == SourceFound()
    assert owner.entry.location.node_id == S


@given(st.data())
def test_no_choice_is_among_those_to_avoid_or_waits_for_who_asks(data):
    nodes = [bytes([number]) for number in range(8)]
    copying = {
        node: Copying(node.hex(), data.draw(st.sampled_from(nodes)), data.draw(st.integers(1, 9)))
        for node in data.draw(st.sets(st.sampled_from(nodes)))
    }
    whole = data.draw(st.lists(st.sampled_from([node for node in nodes if node not in copying] or nodes), unique=True))
    asking = data.draw(st.sampled_from(nodes))
    avoid = data.draw(st.sets(st.sampled_from(nodes))) | {asking}
    copying.pop(asking, None)
    found = choose(data.draw(st.integers(1, SIZE)), whole, copying, asking, avoid)
    assert found not in avoid
    assert not found or found in {*whole, *copying}
    steps = 0
    while found in copying and found not in whole and steps < len(nodes):
        found, steps = copying[found].source, steps + 1
        assert found != asking
