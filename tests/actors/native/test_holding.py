"""Threads that would submit too much wait until the node can take more, and nobody waits for what will not come."""

import threading
from types import SimpleNamespace

import pytest

from limelight.actors.contract import HoldSubmissions, encode
from limelight.actors.native.holding import Holding
from limelight.transport.protocol import Call

PATIENCE = 10.0


class Hub:
    """What of a driver's core it needs."""

    def __init__(self) -> None:
        self.identity = SimpleNamespace(is_driver=True)
        self.wire = SimpleNamespace(is_current=lambda: False)


@pytest.fixture
def holding():
    return Holding(Hub())


def told(holding: Holding, holds: bool) -> None:
    holding.on_hold(None, Call(0, "core", "HoldSubmissions", encode(HoldSubmissions(holds))))


def begin(holding: Holding) -> threading.Thread:
    """A thread that wants to submit something, and waits."""
    entered = threading.Event()

    class Wire:
        def is_current(self) -> bool:
            entered.set()
            return False

    holding._hub.wire = Wire()
    thread = threading.Thread(target=holding.wait, daemon=True)
    thread.start()
    assert entered.wait(PATIENCE)
    return thread


def test_nobody_waits_as_long_as_nobody_was_told_to(holding):
    holding.wait()


@pytest.mark.parametrize("end", [lambda holding: told(holding, False), lambda holding: holding.over()])
def test_a_thread_waits_until_there_is_room_or_the_session_is_over(holding, end):
    told(holding, True)
    thread = begin(holding)
    assert thread.is_alive()
    end(holding)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_wire_thread_which_hears_of_room_waits_for_none(holding):
    told(holding, True)
    holding._hub.wire.is_current = lambda: True
    holding.wait()
