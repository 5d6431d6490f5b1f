"""Which of the pulls that wait is next."""

from types import SimpleNamespace

import pytest

from limelight.cluster.pull.event import Priority
from limelight.cluster.pull.pull import Pull
from limelight.cluster.pull.waiting_line import WaitingLine
from limelight.transport.address import ProcessAddress

OWNER = ProcessAddress("owner", "h")


def pull(number: int, priority: Priority = Priority.ARGUMENT) -> Pull:
    return Pull(number, b"%028d" % number, OWNER, 1, b"", 0.0, {("w", number): priority})


def test_the_most_urgent_is_first_and_among_equals_who_came_first():
    line = WaitingLine()
    one, two, three = pull(1), pull(2), pull(3, Priority.BLOCKED)
    for each in (one, two, three):
        line.put(each)
    order = []
    while (first := line.first) is not None:
        order.append(first.number)
        line.remove(first)
    assert order == [3, 1, 2]
    assert not len(line)


def test_one_that_becomes_more_urgent_goes_to_the_end_of_its_new_equals():
    line, one, two = WaitingLine(), pull(1, Priority.BLOCKED), pull(2)
    line.put(two)
    line.put(one)
    two.wants[("w", 3)] = Priority.BLOCKED
    line.put(two)
    assert line.first is one
    line.remove(one)
    assert line.first is two


@pytest.mark.timeout(20)
def test_a_long_line_is_not_looked_through_for_each_that_leaves_it():
    """Looking through all that have left, as a dict does for its first item, would take many times as long."""
    line, count = WaitingLine(), 300_000
    for number in range(count):
        line.put(SimpleNamespace(number=number, priority=Priority.ARGUMENT))  # pyright: ignore[reportArgumentType]
    for _ in range(count):
        first = line.first
        assert first is not None
        line.remove(first)
    assert not len(line)
