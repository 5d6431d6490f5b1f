"""The driver shows whose each line is, in Ray's form."""

import asyncio
import io
import re
import sys

import pytest

from limelight.cluster.process.log_batch import LogBatch
from limelight.cluster.process.output_printer import OutputPrinter, PrinterSettings


class Terminal(io.StringIO):
    def isatty(self):
        return True


def batch(*lines, pid=1, node="10.0.0.1", stream="stdout"):
    return LogBatch(b"job", "f", pid, node, stream, list(lines))


@pytest.fixture
async def printer():
    made = OutputPrinter(PrinterSettings(), own_node="10.0.0.1")
    yield made
    await made.close()


async def test_lines_have_a_prefix_and_keep_their_stream(printer, capsys):
    await printer.show(batch("hello", "again"))
    await printer.show(batch("oh", stream="stderr"))
    shown = capsys.readouterr()
    assert shown.out == "(f pid=1) hello\n(f pid=1) again\n"
    assert shown.err == "(f pid=1) oh\n"


async def test_a_process_of_another_node_has_its_address(printer, capsys):
    await printer.show(batch("hello", node="10.0.0.2"))
    assert capsys.readouterr().out == "(f pid=1, ip=10.0.0.2) hello\n"


async def test_a_terminal_gets_colour(printer, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    await printer.show(batch("hello"))
    assert sys.stdout.getvalue() == "\x1b[36m(f pid=1)\x1b[0m hello\n"


async def test_repetitions_are_shown_on_close_at_the_latest(printer, capsys):
    for pid in (1, 2, 3):
        await printer.show(batch("hello", pid=pid))
    await printer.close()
    await printer.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "(f pid=1) hello"
    assert lines[1].startswith("(f pid=3) hello [repeated 2x across cluster] (LIMELIGHT_DEDUP_LOGS=0 ")
    assert len(lines) == 2


async def test_repetitions_are_shown_when_their_time_has_come(capsys):
    printer = OutputPrinter(PrinterSettings(window=0.01), own_node="10.0.0.1")
    for pid in (1, 2):
        await printer.show(batch("hello", pid=pid))
    while printer._repeated.deadline is not None:  # noqa: ASYNC110 - a timer of the printer clears it
        await asyncio.sleep(0.001)
    await printer.close()
    assert capsys.readouterr().out == "(f pid=1) hello\n(f pid=2) hello\n"


async def test_collapsing_can_be_switched_off(capsys):
    printer = OutputPrinter(PrinterSettings.from_environment({"RAY_DEDUP_LOGS": "0"}), own_node="10.0.0.1")
    for pid in (1, 2):
        await printer.show(batch("hello", pid=pid))
    await printer.close()
    assert capsys.readouterr().out == "(f pid=1) hello\n(f pid=2) hello\n"


async def test_a_stream_that_cannot_show_a_character_shows_it_escaped(printer, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    await printer.show(batch("żółw"))
    assert raw.getvalue() == b"(f pid=1) \\u017c\\xf3\\u0142w\n"


def test_settings_come_from_the_environment_and_rays_names_work_too():
    settings = PrinterSettings.from_environment(
        {
            "RAY_DEDUP_LOGS_AGG_WINDOW_S": "9",
            "LIMELIGHT_DEDUP_LOGS_AGG_WINDOW_S": "2",
            "RAY_DEDUP_LOGS_SKIP_REGEX": "x+",
            "NO_COLOR": "1",
            "RAY_COLOR_PREFIX": "1",
        }
    )
    assert settings == PrinterSettings(window=2.0, skip=re.compile("x+"), color=False, color_by_process=True)


@pytest.mark.parametrize(
    ("name", "value"), [("LIMELIGHT_DEDUP_LOGS_AGG_WINDOW_S", "soon"), ("LIMELIGHT_DEDUP_LOGS_SKIP_REGEX", "(")]
)
def test_a_setting_that_makes_no_sense_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        PrinterSettings.from_environment({name: value})
