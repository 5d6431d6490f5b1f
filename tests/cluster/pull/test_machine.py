"""What a node fetches first, how much at a time, from where, and when it looks elsewhere."""

import pytest

from limelight.cluster.pull import command as c
from limelight.cluster.pull import event as e
from limelight.cluster.pull.machine import PullLimits, PullMachine
from limelight.cluster.pull.pace import WINDOW
from limelight.cluster.pull.pull import RANGE
from limelight.cluster.pull.sourcing import GRACE
from limelight.transport.address import ProcessAddress

OWNER = ProcessAddress("owner", "h")
A, B, X, Y, Z = b"node a", b"node b", b"x", b"y", b"z"
BLOCKED, ARGUMENT, PREFETCH = e.Priority.BLOCKED, e.Priority.ARGUMENT, e.Priority.PREFETCH


class Bench:
    """A machine, and what it has said of late."""

    def __init__(self) -> None:
        self.now = 0.0
        self.room = 1 << 40
        limits = PullLimits(budget=100 * RANGE, ranges=6, ask_from=10 * RANGE)
        self.machine = PullMachine(limits, lambda _: self.room)
        self.requests = 0

    def feed(self, event: e.AnyEvent) -> list[c.AnyCommand]:
        return self.machine.handle(event, self.now)

    def want(self, object_id: bytes, priority: e.Priority = BLOCKED, ranges: int = 8, process: str = "w"):
        self.requests += 1
        who = (process, self.requests if priority is BLOCKED else 0)
        return self.feed(e.Wanted(object_id, OWNER, who, priority, ranges * RANGE, A))

    def start(self, object_id: bytes = X, priority: e.Priority = BLOCKED, ranges: int = 8):
        """Bring a pull to where it asks for ranges; its number and the first commands."""
        (reserve,) = self.want(object_id, priority, ranges)
        (ask,) = self.feed(e.Granted(reserve.pull))
        if isinstance(ask, c.Find):
            (ask,) = self.feed(e.Found(reserve.pull, ask.question, A, False, ranges * RANGE))
        return reserve.pull, self.feed(e.Prepared(reserve.pull, ask.node))

    def after(self, seconds: float) -> list[c.AnyCommand]:
        self.now += seconds
        return self.feed(e.Tick())


@pytest.fixture
def bench() -> Bench:
    return Bench()


def kinds(commands: list[c.AnyCommand]) -> list[str]:
    return [type(command).__name__ for command in commands]


def ranges(commands: list[c.AnyCommand]) -> list[tuple[int, bytes]]:
    return [(command.index, command.node) for command in commands if isinstance(command, c.Fetch)]


def test_a_small_object_comes_from_where_it_was(bench):
    (reserve,) = bench.want(X, ranges=2)
    assert bench.feed(e.Granted(reserve.pull)) == [c.Prepare(reserve.pull, A)]
    assert ranges(bench.feed(e.Prepared(reserve.pull, A))) == [(0, A), (1, A)]
    assert bench.feed(e.Arrived(reserve.pull, 1)) == []
    finish, answer = bench.feed(e.Arrived(reserve.pull, 0))
    assert finish == c.Finish(reserve.pull, wanted=False)
    assert answer == c.Answer(("w", 1), X)
    assert len(bench.machine) == 0


def test_of_a_large_one_the_owner_is_asked_once_there_is_memory(bench):
    (reserve,) = bench.want(X, ranges=20)
    (find,) = bench.feed(e.Granted(reserve.pull))
    assert isinstance(find, c.Find)
    commands = bench.feed(e.Found(reserve.pull, find.question, B, True, 20 * RANGE))
    assert ranges(commands) == [(index, B) for index in range(4)], "what is arriving there needs no preparation"


def test_all_who_want_an_object_share_a_pull(bench):
    number, _ = bench.start(ranges=1)
    assert bench.want(X) == []
    bench.want(X, ARGUMENT, process="v")
    finish, *answers = bench.feed(e.Arrived(number, 0))
    assert finish.wanted, "one of them will read it later"
    assert [answer.who for answer in answers] == [("w", 1), ("w", 2)]


def test_what_is_needed_first_is_fetched_first(bench):
    argument, _ = bench.start(X, ARGUMENT)
    blocked, commands = bench.start(Y, BLOCKED)
    assert ranges(commands) == [(0, A), (1, A)], "what was under way goes on"
    commands = bench.feed(e.Arrived(argument, 0))
    assert [command.pull for command in commands] == [blocked]


def test_a_want_can_rise(bench):
    bench.room = 0
    assert bench.want(X, ARGUMENT) == []
    assert bench.want(Y, ARGUMENT) == []
    (reserve,) = bench.want(Y, BLOCKED)
    assert reserve.object_id == Y


def test_nobody_is_robbed_for_what_nobody_waits_for(bench):
    bench.room = 8 * RANGE - 1
    assert bench.want(X, PREFETCH) == []
    assert bench.machine.wake_at(bench.now) is not None
    bench.room += 1
    assert kinds(bench.after(1)) == ["Reserve"]
    assert bench.want(Y, ARGUMENT) == [], "the room is the first one's until it has its memory"
    assert kinds(bench.want(Z, BLOCKED)) == ["Reserve"]


def test_only_so_much_is_fetched_at_a_time_and_the_largest_still_gets_its_turn(bench):
    first, _ = bench.start(X, ranges=60)
    assert bench.want(Y, ranges=500) == []
    assert bench.want(Z, ranges=1) == [], "it has not overtaken the large one, which would never be next"
    for index in range(60):
        commands = bench.feed(e.Arrived(first, index))
    assert [command.object_id for command in commands if isinstance(command, c.Reserve)] == [Y]


def test_who_waits_long_for_memory_keeps_nobody_waiting(bench):
    bench.want(X, ranges=100)
    assert bench.want(Y) == []
    at = bench.machine.wake_at(bench.now)
    assert [command.object_id for command in bench.after(at - bench.now)] == [Y]


def test_without_memory_a_reader_is_told_and_a_want_waits(bench):
    (reserve,) = bench.want(X)
    assert bench.feed(e.Refused(reserve.pull, "full")) == [
        c.Drop(reserve.pull),
        c.Answer(("w", 1), X, "full", full=True),
    ]
    (reserve,) = bench.want(Y, PREFETCH)
    assert bench.feed(e.Refused(reserve.pull, "full")) == [c.Drop(reserve.pull)]
    assert kinds(bench.after(1)) == ["Reserve"]


def test_what_nobody_wants_any_more_is_given_up(bench):
    number, _ = bench.start()
    assert bench.feed(e.Unwanted(X, ("w", 1))) == [c.Drop(number)]
    bench.want(Y)
    bench.want(Y, ARGUMENT)
    assert kinds(bench.feed(e.ProcessLost("w"))) == ["Drop"]
    assert len(bench.machine) == 0


def test_what_was_begun_for_a_reader_that_may_come_back_goes_on_after_all_else(bench):
    number, _ = bench.start(X)
    assert bench.feed(e.Unwanted(X, ("w", 1), linger=True)) == []
    other, _ = bench.start(Y)
    assert [command.pull for command in bench.feed(e.Arrived(number, 0))] == [other]
    assert bench.feed(e.ProcessLost("w"))[0] == c.Drop(number)


def test_what_has_no_memory_yet_is_not_begun_for_a_reader_that_has_given_up(bench):
    (reserve,) = bench.want(X)
    assert bench.feed(e.Unwanted(X, ("w", 1), linger=True)) == [c.Drop(reserve.pull)]


def test_what_other_nodes_wait_for_is_not(bench):
    number, _ = bench.start()
    bench.feed(e.PeersWait(number, 1))
    assert bench.feed(e.Unwanted(X, ("w", 1))) == []
    assert bench.feed(e.PeersWait(number, 0)) == [c.Drop(number)]


def test_a_broken_stream_is_tried_again_at_the_range_that_failed(bench):
    number, _ = bench.start(ranges=3)
    assert bench.feed(e.Arrived(number, 0)) == []
    assert bench.feed(e.Arrived(number, 2)) == []
    assert bench.feed(e.RangeFailed(number, 1, e.Fault.BROKEN, "cut")) == []
    assert ranges(bench.after(0.1)) == [(1, A)]


def test_meanwhile_the_owner_is_asked_for_another_source(bench):
    number, _ = bench.start(ranges=3)
    bench.feed(e.RangeFailed(number, 1, e.Fault.BROKEN, "cut"))
    bench.after(0.1)
    (find,) = bench.feed(e.RangeFailed(number, 1, e.Fault.BROKEN, "cut"))
    assert find.avoid == (A,)
    assert find.lost == ()
    commands = bench.feed(e.Found(number, find.question, B, False, 3 * RANGE))
    assert kinds(commands) == ["Abort", "Abort", "Prepare"]
    assert ranges(bench.feed(e.Prepared(number, B))) == [(0, B), (1, B), (2, B)]


def test_a_source_that_stays_broken_counts_as_lost(bench):
    number, _ = bench.start(ranges=1)
    bench.feed(e.RangeFailed(number, 0, e.Fault.BROKEN, "cut"))
    bench.after(0.1)
    (find,) = bench.feed(e.RangeFailed(number, 0, e.Fault.BROKEN, "cut"))
    assert bench.feed(e.Found(number, find.question, b"")) == []
    assert ranges(bench.after(GRACE + 1)) == [(0, A)]
    (find,) = bench.feed(e.RangeFailed(number, 0, e.Fault.BROKEN, "cut"))
    assert find.lost == (A,)
    assert bench.feed(e.Found(number, find.question, b"")) == [c.Drop(number), c.Answer(("w", 1), X, "cut")]


def test_wrong_bytes_are_fetched_again_and_twice_wrong_bytes_elsewhere(bench):
    number, _ = bench.start(ranges=1)
    assert ranges(bench.feed(e.RangeFailed(number, 0, e.Fault.CORRUPT, "wrong"))) == [(0, A)]
    (find,) = bench.feed(e.RangeFailed(number, 0, e.Fault.CORRUPT, "wrong"))
    assert find.lost == (A,)


def test_a_source_without_memory_is_not_lost_and_its_reader_hears_why(bench):
    (reserve,) = bench.want(X)
    bench.feed(e.Granted(reserve.pull))
    (find,) = bench.feed(e.SourceFailed(reserve.pull, A, e.Fault.BUSY, "full there"))
    assert (find.avoid, find.lost) == ((A,), ())
    *_, answer = bench.feed(e.Found(reserve.pull, find.question, b""))
    assert answer == c.Answer(("w", 1), X, "full there", full=True)


def test_only_the_last_question_s_answer_counts(bench):
    number, _ = bench.start(ranges=2)
    bench.feed(e.RangeFailed(number, 0, e.Fault.BROKEN, "cut"))
    bench.after(0.1)
    (early,) = bench.feed(e.RangeFailed(number, 0, e.Fault.BROKEN, "cut"))
    (late,) = bench.feed(e.RangeFailed(number, 1, e.Fault.ABSENT, "gone"))
    assert bench.feed(e.Found(number, early.question, b"")) == [], "it says nothing of what was asked since"
    assert kinds(bench.feed(e.Found(number, late.question, B, False, 2 * RANGE))) == ["Prepare"]


def test_an_object_of_another_size_is_fetched_into_other_memory(bench):
    (reserve,) = bench.want(X, ranges=20)
    (find,) = bench.feed(e.Granted(reserve.pull))
    drop, again = bench.feed(e.Found(reserve.pull, find.question, B, False, 30 * RANGE))
    assert drop == c.Drop(reserve.pull)
    assert again.size == 30 * RANGE


def test_a_slow_source_is_left_for_another_if_this_node_is_not_slow_itself(bench):
    fast, _ = bench.start(X, ranges=90)
    for index in range(90):
        bench.now += WINDOW / 100
        bench.feed(e.Arrived(fast, index))
    slow, _ = bench.start(Y, ranges=50)
    (find,) = [command for _ in range(3) for command in bench.after(WINDOW) if isinstance(command, c.Find)]
    assert find.avoid == (A,)
    commands = bench.feed(e.Found(slow, find.question, B, True, 50 * RANGE))
    assert ranges(commands) == [(index, B) for index in range(4)]


def test_nobody_looks_elsewhere_while_the_node_is_as_busy_as_ever(bench):
    fast, _ = bench.start(X, ranges=90)
    bench.start(Y, ranges=5)
    for index in range(80):
        bench.now += WINDOW / 20
        commands = bench.feed(e.Arrived(fast, index)) + bench.feed(e.Tick())
        assert not [command for command in commands if isinstance(command, c.Find)]
