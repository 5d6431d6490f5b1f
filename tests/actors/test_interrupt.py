"""Ctrl-C is heard, also where Python ignores it."""

import signal
import sys
import weakref

import pytest

from limelight.actors.interrupt import hearing_interrupts


class Lock:
    """Something that a weak reference can be to."""


@pytest.fixture(autouse=True)
def _heard():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # CI may have it ignored
    yield
    signal.signal(signal.SIGINT, before)


def ignored(what) -> None:
    """Do something where Python ignores what it raises."""
    lock = Lock()
    ended = weakref.ref(lock, lambda _: what())
    del lock
    assert ended() is None


@pytest.mark.parametrize("strike", [ignored, lambda interrupt: interrupt()], ids=["ignored", "raised"])
def test_an_interrupt_is_raised_where_it_strikes_or_else_when_the_block_ends(strike):
    before, went_on = sys.unraisablehook, []

    @hearing_interrupts()
    def block() -> None:
        strike(lambda: signal.raise_signal(signal.SIGINT))
        went_on.append(True)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert bool(went_on) == (strike is ignored)
    assert sys.unraisablehook is before


def test_what_else_python_ignores_is_told_as_always(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(args.exc_type))
    with hearing_interrupts():
        ignored(lambda: 1 // 0)
    assert told == [ZeroDivisionError]
