"""Those who wait for a placement group: the head is asked once, and nothing is kept for who waits no more."""

from types import SimpleNamespace

import pytest

from limelight.actors.native.entry import FAILED, INLINE, PENDING, ObjectEntry
from limelight.actors.native.group_wait import GroupWaits
from limelight.actors.serialization import deserialize_error
from limelight.transport.error import PeerLostError
from limelight.transport.protocol import Reply

TABLE = SimpleNamespace(ref_dropped=lambda _: None)
ONE, OTHER = b"1" * 18, b"2" * 18


class Head:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, object]] = []
        self.waits = GroupWaits(lambda body, answer: self.asked.append((body.group_id, answer)))

    def wait(self, group_id: bytes, done: bytes = b"done") -> ObjectEntry:
        entry = ObjectEntry(TABLE, b"object")
        self.waits.add((group_id, entry, done))
        return entry


@pytest.fixture
def head():
    return Head()


def test_of_each_group_the_head_is_asked_once_and_all_who_wait_hear_the_answer(head):
    first, other, second = head.wait(ONE, b"a"), head.wait(OTHER), head.wait(ONE, b"b")
    assert [group_id for group_id, _ in head.asked] == [ONE, OTHER]
    head.asked[0][1](Reply(1, False, b""))
    assert [(entry.state, entry.data) for entry in (first, second)] == [(INLINE, b"a"), (INLINE, b"b")]
    assert other.state == PENDING
    head.asked[1][1](Reply(2, False, b"it was removed"))
    assert (other.state, other.data) == (FAILED, b"it was removed")


def test_who_comes_after_an_answer_asks_anew(head):
    """The group may have lost a node since."""
    head.wait(ONE)
    head.asked.pop()[1](Reply(1, False, b""))
    assert head.wait(ONE).state == PENDING
    assert len(head.asked) == 1


def test_a_head_that_is_gone_for_good_fails_all_who_wait(head):
    waiting = [head.wait(ONE) for _ in range(3)]
    head.asked[0][1](PeerLostError("the link was cut"))
    assert {entry.state for entry in waiting} == {FAILED}
    assert "The head cannot be reached: the link was cut" in str(deserialize_error(waiting[0].data))


def test_of_those_who_have_given_up_few_are_kept_and_none_of_the_others_is_lost(head):
    kept = head.wait(ONE)
    exported = head.wait(ONE)
    exported.tracked, exported.count = True, 0
    for _ in range(10_000):
        head.wait(ONE).dropped()
    assert len(head.asked) == 1
    assert len(head.waits._waiting[ONE]) < 20
    head.asked[0][1](Reply(1, False, b""))
    assert kept.state == exported.state == INLINE
