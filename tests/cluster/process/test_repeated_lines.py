"""What many workers print is shown once with a count; what one worker prints is shown as it is."""

import re

from limelight.cluster.process.log_batch import LogBatch
from limelight.cluster.process.repeated_lines import RepeatedLines


def batch(pid, *lines, name="f"):
    return LogBatch(b"job", name, pid, "10.0.0.1", "stdout", list(lines))


def texts(shown):
    return [(line.batch.pid, line.text, line.times) for line in shown]


def test_the_first_line_is_shown_at_once_and_those_like_it_from_others_are_counted():
    view = RepeatedLines(5)
    assert texts(view.feed(batch(1, "hello"), 0)) == [(1, "hello", 1)]
    assert texts(view.feed(batch(2, "hello"), 1)) == []
    assert texts(view.feed(batch(3, "hello"), 2)) == []
    assert view.deadline == 5
    assert texts(view.expire(4.9)) == []
    assert texts(view.expire(5)) == [(3, "hello", 2)]


def test_lines_that_differ_in_words_with_digits_are_alike():
    view = RepeatedLines(5)
    view.feed(batch(1, "epoch 1 loss=0.53"), 0)
    assert texts(view.feed(batch(2, "epoch 2 loss=0.41"), 0)) == []
    assert texts(view.expire(5)) == [(2, "epoch 2 loss=0.41", 1)]


def test_one_process_alone_may_repeat_itself():
    view = RepeatedLines(5)
    assert texts(view.feed(batch(1, "step 1", "step 2", "step 3"), 0)) == [(1, f"step {n}", 1) for n in (1, 2, 3)]


def test_a_line_that_goes_on_repeating_is_shown_once_a_window():
    view = RepeatedLines(5)
    shown = [view.feed(batch(pid, "tick"), second) for second in range(12) for pid in (1, 2)]
    shown.append(view.expire(float("inf")))
    counts = [line.times for lines in shown for line in lines]
    assert counts[0] == 1
    assert len(counts) == 4
    assert sum(counts) == 24  # every line is accounted for


def test_different_tasks_are_not_mixed_up():
    view = RepeatedLines(5)
    view.feed(batch(1, "hello"), 0)
    assert texts(view.feed(batch(2, "hello", name="g"), 0)) == [(2, "hello", 1)]


def test_lines_can_be_exempt_or_skipped():
    view = RepeatedLines(5, never_collapse=re.compile("Error"), skip=re.compile("noise"))
    view.feed(batch(1, "Error: x"), 0)
    assert texts(view.feed(batch(2, "Error: x", "noise"), 0)) == [(2, "Error: x", 1)]


def test_endless_variety_takes_bounded_memory_and_loses_nothing():
    view = RepeatedLines(1e9)
    for pid in (1, 2):
        view.feed(batch(pid, "first"), 0)
    words = ["".join(chr(97 + int(digit)) for digit in str(n)) for n in range(25_000)]
    shown = view.feed(batch(1, *words), 0)
    assert (2, "first", 1) in texts(shown)
    assert len(shown) == 25_001
    assert len(view._patterns) <= 10_000
