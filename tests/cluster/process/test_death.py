"""The cause of a death says what was observed: who or what ended the process, and its last words."""

import signal
import subprocess
import sys

import pytest

from limelight.cluster.process.death import KernelOomWatch, KnownKill, death_cause, split_fault_dump
from limelight.cluster.process.log_batch import NAME_MARK
from limelight.cluster.process.spawn import ProcessExit
from limelight.exceptions import DeathKind


def ended(exit_code=None, signum=None, **more):
    return ProcessExit("a", 123, exit_code, signum, max_rss_bytes=1 << 30, **more)


def test_an_exit_has_its_code_its_memory_and_its_last_words():
    cause = death_cause(ended(exit_code=3), "\n".join(map(str, range(50))), node_id="ab" * 28, ip="10.0.0.1")
    assert (cause.kind, cause.exit_code, cause.signal, cause.peak_memory) == (DeathKind.EXITED, 3, None, 1 << 30)
    assert cause.stderr_tail == tuple(map(str, range(30, 50)))
    assert "pid 123" in cause.render()
    assert "10.0.0.1" in cause.render()


def test_an_exit_without_error_was_intended():
    assert death_cause(ended(exit_code=0), "").kind is DeathKind.INTENDED_EXIT


def test_what_the_node_did_itself_is_the_cause():
    known = KnownKill(DeathKind.OUT_OF_MEMORY, "The node was at 96% of its memory and this was the newest task")
    cause = death_cause(ended(signum=signal.SIGKILL), "", known=known)
    assert (cause.kind, cause.explanation) == (known.kind, known.explanation)


def test_a_strangers_kill_is_not_blamed_on_memory():
    cause = death_cause(ended(signum=signal.SIGKILL), "")
    assert cause.kind is DeathKind.SIGNALLED
    assert "Limelight did not send the signal" in cause.explanation


def test_the_kernels_kill_is_memory():
    cause = death_cause(ended(signum=signal.SIGKILL), "", kernel_oom="The kernel's out-of-memory killer struck")
    assert cause.kind is DeathKind.OUT_OF_MEMORY


def test_a_kill_by_the_kernel_is_accounted_for_once(tmp_path):
    watch = KernelOomWatch()
    watch._counter = tmp_path / "memory.events"
    watch._counter.write_text("oom 1\noom_kill 4\n")
    watch._seen = watch._count()
    assert not watch.take_one()
    watch._counter.write_text("oom 1\noom_kill 5\n")
    assert "out-of-memory killer" in watch.take_one()
    assert not watch.take_one()
    watch._counter.unlink()
    assert not watch.take_one()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts")
def test_a_linux_machine_has_a_count():
    assert KernelOomWatch()._counter is not None


CRASH = """
import faulthandler, sys, threading
faulthandler.enable()
threading.Thread(target=threading.Event().wait, daemon=True).start()
print("loading the model", file=sys.stderr, flush=True)
import ctypes
def inner(): ctypes.string_at(0)
inner()
"""


def test_a_real_crash_has_the_dump_apart_from_the_last_words():
    process = subprocess.run([sys.executable, "-c", CRASH], stderr=subprocess.PIPE, text=True, check=False)
    cause = death_cause(ended(signum=-process.returncode), process.stderr)
    assert cause.stderr_tail == ("loading the model",)
    assert cause.fault_dump.startswith("Fatal Python error: Segmentation fault\n")
    assert "in inner" in cause.fault_dump
    assert cause.explanation.startswith("Native code")


def test_names_of_tasks_between_the_lines_are_left_out():
    cause = death_cause(ended(exit_code=1), f"one\n{NAME_MARK}f\ntwo\x0bmore\n{NAME_MARK}g\n")
    assert cause.stderr_tail == ("one", "two\x0bmore")
    assert death_cause(ended(exit_code=1), "").stderr_tail == ()


def test_text_after_a_dump_stays_with_the_last_words():
    dump = 'Fatal Python error: Aborted\n\nThread 0x1 (most recent call first):\n  File "a.py", line 1 in f\n'
    assert split_fault_dump(f"before\n{dump}after\n") == ("before\nafter\n", dump)
    assert split_fault_dump("nothing\n") == ("nothing\n", "")
