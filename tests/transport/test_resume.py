"""Property: whatever happens to the connections, each side delivers what the other sent, once and in order."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.transport.error import ProtocolError
from limelight.transport.protocol import Call, Frame, encode
from limelight.transport.resume import Resume


def message(number: int) -> Call:
    return Call(number, "actor", "method", b"%d" % number)


class Side:
    """One end, with the frames on their way to it."""

    def __init__(self) -> None:
        self.resume = Resume(grace=5.0)
        self.sent = 0
        self.delivered: list[int] = []
        self.inbox: deque[bytes] = deque()
        self.linked = False

    def send(self, count: int) -> None:
        self.resume.seal([message(self.sent + i + 1) for i in range(count)])
        self.sent += count

    def receive(self, data: bytes) -> None:
        self.delivered += [call.call_id for call in self.resume.open(data)]


class Model:
    """Two ends and the connection between them, which may die at any point of what is on its way."""

    def __init__(self) -> None:
        self.sides = [Side(), Side()]
        self.reconnect()

    def reconnect(self) -> None:
        """The dialler has noticed the cut; the other side may not have. What was on its way is gone."""
        for side in self.sides:
            side.inbox.clear()
        received = [side.resume.received for side in self.sides]
        for index, side in enumerate(self.sides):
            side.linked = True
            side.resume.connected(received[1 - index])

    def put(self, index: int) -> None:
        side = self.sides[index]
        if side.linked and (frame := side.resume.next_frame()) is not None:
            self.sides[1 - index].inbox.append(frame)

    def acknowledge(self, index: int) -> None:
        if self.sides[index].linked:
            self.sides[1 - index].inbox.append(self.sides[index].resume.acknowledgement())

    def arrive(self, index: int, *, twice: bool = False) -> None:
        side = self.sides[index]
        if side.linked and side.inbox:
            data = side.inbox.popleft()
            side.receive(data)
            if twice:
                side.receive(data)

    def notice(self, index: int) -> None:
        """One side notices that the connection is dead; the other goes on with what is in its inbox."""
        self.sides[index].linked = False
        self.sides[index].resume.disconnected(now=0.0)

    def settle(self) -> None:
        self.reconnect()
        while not all(side.resume.settled for side in self.sides):
            for index in (0, 1):
                self.put(index)
                self.arrive(1 - index)
                self.acknowledge(1 - index)
                self.arrive(index)


sides = st.integers(0, 1)
steps = st.one_of(
    st.tuples(st.just("send"), sides, st.integers(1, 5)),
    st.tuples(st.just("put"), sides),
    st.tuples(st.just("put"), sides),
    st.tuples(st.just("acknowledge"), sides),
    st.tuples(st.just("arrive"), sides),
    st.tuples(st.just("arrive"), sides),
    st.tuples(st.just("arrive twice"), sides),
    st.tuples(st.just("notice"), sides),
    st.tuples(st.just("reconnect")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=80))
def test_everything_arrives_once_and_in_order(script: list[tuple]) -> None:
    model = Model()
    for step in script:
        match step:
            case "send", side, count:
                model.sides[side].send(count)
            case "put", side:
                model.put(side)
            case "acknowledge", side:
                model.acknowledge(side)
            case "arrive", side:
                model.arrive(side)
            case "arrive twice", side:
                model.arrive(side, twice=True)
            case "notice", side:
                model.notice(side)
            case _:
                model.reconnect()
        for side, other in (model.sides, model.sides[::-1]):
            assert side.delivered == list(range(1, len(side.delivered) + 1))
            assert len(side.delivered) <= other.sent
    model.settle()
    for side, other in (model.sides, model.sides[::-1]):
        assert side.delivered == list(range(1, other.sent + 1))
        assert side.resume.held_bytes == 0


def test_frames_are_kept_until_acknowledged() -> None:
    left, right = Resume(5.0), Resume(5.0)
    left.seal([message(1)])
    left.seal([message(2)])
    size = left.held_bytes
    right.open(left.next_frame() or b"")
    assert left.held_bytes == size
    left.open(right.acknowledgement())
    assert 0 < left.held_bytes < size
    assert not left.settled


def test_a_message_carries_the_acknowledgement() -> None:
    left, right = Resume(5.0), Resume(5.0)
    left.seal([message(1)])
    right.open(left.next_frame() or b"")
    assert right.unreported > 0
    right.seal([message(1)])
    assert right.unreported == 0
    left.open(right.next_frame() or b"")
    assert left.settled


def test_a_gap_is_refused() -> None:
    right = Resume(5.0)
    with pytest.raises(ProtocolError, match="0 have arrived and the next frame starts with 3"):
        right.open(encode(Frame(3, 0, [message(3)])))


def test_an_acknowledgement_of_what_was_never_sent_is_refused() -> None:
    with pytest.raises(ProtocolError, match="acknowledges message 9, but only 0"):
        Resume(5.0).open(encode(Frame(1, 9, [])))


def test_a_peer_without_memory_is_refused() -> None:
    left, right = Resume(5.0), Resume(5.0)
    left.seal([message(1)])
    right.open(left.next_frame() or b"")
    left.open(right.acknowledgement())
    with pytest.raises(ProtocolError, match="has lost its memory"):
        left.connected(peer_received=0)
    with pytest.raises(ProtocolError, match="acknowledges message 2"):
        right.connected(peer_received=2)


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    resume = Resume(5.0)
    try:
        resume.open(data)
    except ProtocolError:
        assert resume.received == 0


@given(st.integers(0, 30), st.binary(min_size=1, max_size=6))
def test_a_mutated_frame_is_refused_or_a_frame(start: int, noise: bytes) -> None:
    good = encode(Frame(1, 0, [message(1), message(2)]))
    resume = Resume(5.0)
    try:
        messages = resume.open(good[:start] + noise + good[start + len(noise) :])
    except ProtocolError:
        assert resume.received == 0
    else:
        assert resume.received == len(messages)


def test_the_grace_period_starts_with_the_first_cut_and_ends_with_the_next_connection() -> None:
    resume = Resume(grace=5.0)
    assert not resume.expired(now=100.0)
    assert resume.disconnected(now=10.0) == 15.0
    assert resume.disconnected(now=12.0) == 15.0
    assert not resume.expired(now=14.9)
    assert resume.expired(now=15.0)
    resume.connected(0)
    assert not resume.expired(now=99.0)
