"""Tracebacks show the user's frames."""

import linecache
import sys

from limelight.actors import serialization
from limelight.exceptions import trace


def frame_of_framework(call):
    """Run `call` from a frame whose file seems to be a file of the framework."""
    filename = f"{trace._FRAMEWORK[0]}pretend_worker.py"
    source = "def run(call):\n    return call()\n"
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    namespace = {}
    exec(compile(source, filename, "exec"), namespace)
    return namespace["run"](call)


def fail():
    raise ValueError("bad")


def caught(call):
    try:
        call()
    except BaseException as exc:
        return exc
    raise AssertionError


def test_frames_of_the_framework_are_left_out():
    text = trace.format_trace(caught(lambda: frame_of_framework(fail)))
    assert "in fail" in text
    assert "pretend_worker" not in text


def test_so_are_those_of_its_real_modules():
    def load():
        serialization.serialize(Fails())

    text = trace.format_trace(caught(load))
    assert "in load" in text
    assert "in __getstate__" in text
    assert "serialization.py" not in text.replace(__file__, "")
    assert "pickler.py" not in text


class Fails:
    def __getstate__(self):
        raise KeyError("mine")


def test_they_are_left_out_of_causes_and_groups_too():
    def group():
        try:
            frame_of_framework(fail)
        except ValueError as exc:
            raise ExceptionGroup("several", [exc]) from exc

    text = trace.format_trace(caught(group))
    assert text.count("in fail") == 2
    assert "pretend_worker" not in text


def test_a_failure_of_the_framework_itself_keeps_its_frames():
    exc = caught(lambda: frame_of_framework(None))
    while "pretend_worker" not in exc.__traceback__.tb_frame.f_code.co_filename:
        exc.__traceback__ = exc.__traceback__.tb_next
    assert "pretend_worker" in trace.format_trace(exc)


def test_a_chain_that_loops_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert "ValueError: a" in trace.format_trace(first)


def test_a_deep_recursion_is_folded():
    def endless(n):
        return endless(n + 1)

    text = trace.format_trace(caught(lambda: endless(0)))
    assert "more times" in text
    assert len(text) < sys.getrecursionlimit() * 10
