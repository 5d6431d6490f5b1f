"""What waits to be written: batches, who waits for them, and what a crash leaves."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from limelight.cluster.state.change import Delete, Put
from limelight.cluster.state.write_queue import WriteQueue


def put(key, value=b""):
    return Put("t", key, value)


def test_what_is_queued_together_is_written_together():
    queue = WriteQueue()
    queue.add(put("a"))
    queue.add(Delete("other", "b"))
    assert list(queue.take()) == [put("a"), Delete("other", "b")]


def test_of_what_waits_only_the_last_of_a_key_is_written():
    queue = WriteQueue()
    for change in (put("a", b"1"), put("b"), put("a", b"2"), put("c"), Delete("t", "c")):
        queue.add(change)
    assert set(queue.take()) == {put("a", b"2"), put("b"), Delete("t", "c")}


def test_a_batch_under_way_stays_as_it_is_until_it_is_written():
    queue = WriteQueue()
    queue.add(put("a", b"1"))
    first = queue.take()
    queue.add(put("a", b"2"))
    assert queue.take() is first
    queue.written()
    assert list(queue.take()) == [put("a", b"2")]


def test_a_watcher_waits_for_what_was_queued_before_it_and_not_for_what_came_after():
    queue, told = WriteQueue(), []
    assert not queue.watch(lambda: told.append("nothing to wait for"))
    queue.add(put("a"))
    assert queue.watch(lambda: told.append("with a"))
    queue.take()
    assert queue.watch(lambda: told.append("after a"))
    queue.add(put("b"))
    assert queue.watch(lambda: told.append("with b"))
    for callback in queue.written():
        callback()
    assert told == ["with a", "after a"]


class CrashAtAnyMoment(RuleBasedStateMachine):
    """A head queues, a store writes, replies get lost; at each moment a crash would leave what the invariants say."""

    def __init__(self):
        super().__init__()
        self.queue = WriteQueue()
        self.head = {}
        self.history = [{}]
        self.stored = {}
        self.durable = 0
        self.order = []
        self.watched = 0
        self.told = 0

    @rule(
        changes=st.lists(st.tuples(st.sampled_from("abcdef"), st.one_of(st.none(), st.binary(max_size=2))), min_size=1)
    )
    def one_step_of_the_head(self, changes):
        for key, value in changes:
            if value is None:
                self.head.pop(key, None)
                self.queue.add(Delete("t", key))
            else:
                self.head[key] = value
                self.queue.add(put(key, value))
        self.history.append(dict(self.head))

    @rule()
    def somebody_waits(self):
        moment, number = len(self.history) - 1, self.watched
        self.watched += 1

        def tell():
            self.durable = max(self.durable, moment)
            self.order.append(number)

        if not self.queue.watch(tell):
            tell()

    @precondition(lambda self: self.queue.take())
    @rule(arrives=st.booleans(), answered=st.booleans())
    def a_try_to_write(self, arrives, answered):
        batch = self.queue.take()
        if arrives:
            for change in batch:
                if isinstance(change, Put):
                    self.stored[change.key] = change.value
                else:
                    self.stored.pop(change.key, None)
            if answered:
                for callback in self.queue.written():
                    callback()

    @invariant()
    def the_store_holds_the_state_of_some_moment_not_before_what_was_said_to_be_durable(self):
        assert self.stored in self.history[self.durable :]

    @invariant()
    def watchers_are_told_in_their_order(self):
        assert self.order == list(range(len(self.order)))


TestCrashAtAnyMoment = CrashAtAnyMoment.TestCase
TestCrashAtAnyMoment.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
