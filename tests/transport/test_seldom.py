"""Lines that are logged now and then."""

import logging

from limelight.transport import seldom
from limelight.transport.seldom import Seldom


def test_a_line_says_how_many_were_left_out_before_it(caplog, monkeypatch) -> None:
    now = 100.0
    monkeypatch.setattr(seldom.time, "monotonic", lambda: now)
    lines = Seldom(logging.getLogger("test"))
    for number in range(1000):
        lines.warn("number %d", number)
    now += 10.0
    lines.warn("number %d", 1000)
    assert caplog.messages == ["number 0", "number 1000 (999 more of this kind since the last line)"]
