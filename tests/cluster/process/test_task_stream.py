"""Lines carry the name of what printed them; what prints nothing leaves no trace."""

import os

import pytest

from limelight.cluster.process import task_stream
from limelight.cluster.process.log_batch import LineReader
from limelight.cluster.process.task_stream import TaskStream, announce


@pytest.fixture
def pipe(monkeypatch):
    monkeypatch.setattr(task_stream, "set_process_title", lambda _title: None)
    announce("")
    reader, writer = os.pipe()
    yield TaskStream(writer), lambda: LineReader().feed(os.read(reader, 1 << 16))
    announce("")
    os.close(reader)
    os.close(writer)


def test_each_name_is_told_once_and_only_if_something_is_printed(pipe):
    stream, read = pipe
    announce("f")
    print("one", file=stream)
    print("two", file=stream)
    announce("silent")
    announce("g")
    print("three", file=stream)
    assert read() == [("f", ["one", "two"]), ("g", ["three"])]


def test_a_line_is_written_when_it_is_complete(pipe):
    stream, read = pipe
    print("whole", file=stream)
    assert read() == [("", ["whole"])]


def test_a_name_never_lands_inside_a_line(pipe):
    stream, read = pipe
    announce("f")
    print("not ended", end="", file=stream)
    announce("g")
    print("mine", file=stream)
    assert read() == [("f", ["not ended"]), ("g", ["mine"])]


def test_text_that_utf8_does_not_have_is_escaped(pipe):
    stream, read = pipe
    print("\ud800", file=stream)
    assert read() == [("", ["\\ud800"])]
