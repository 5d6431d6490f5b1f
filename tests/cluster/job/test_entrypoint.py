"""An entrypoint: how it ends, what it leaves behind, and what becomes of it when nobody looks after it any more."""

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from limelight.cluster.job.entrypoint import Entrypoint
from tests.cluster.cluster_program import eventually


@pytest.fixture
def begin(tmp_path):
    """Starts a command, whose output goes to `log`."""

    def start(command: str) -> Entrypoint:
        return Entrypoint.start(command, os.environ, tmp_path / "log")

    return start


def printed(tmp_path) -> str:
    return (tmp_path / "log").read_text()


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_pid(tmp_path) -> int:
    eventually(lambda: printed(tmp_path).endswith("\n"))
    return int(printed(tmp_path).split()[-1])


def test_its_output_and_exit_code_are_kept(begin, tmp_path):
    entrypoint = begin("echo out; echo err >&2; exit 3")
    assert entrypoint.wait() == 3
    assert printed(tmp_path) == "out\nerr\n"
    assert entrypoint.ended_by == "failed with exit code 3"
    assert entrypoint.tail() == "out\nerr"


def test_a_signal_that_ended_it_is_named(begin):
    entrypoint = begin("kill -SEGV $$")
    assert entrypoint.wait() is None
    assert entrypoint.ended_by == "was ended by signal 11 (SIGSEGV)"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("kill -KILL $$", "was ended by signal 9 (SIGKILL), as the kernel does where memory runs out"),
        (
            "sh -c 'kill -KILL $$'; exit $?",
            "failed with exit code 137: a program in it was ended by signal 9 (SIGKILL)",
        ),
        (
            "sh -c 'kill -ABRT $$'; exit $?",
            "failed with exit code 134: a program in it was ended by signal 6 (SIGABRT)",
        ),
        ("no-such-program", "failed with exit code 127: there is no such program on that machine, or none in its PATH"),
        ("/etc/passwd", "failed with exit code 126: its program cannot be executed"),
        ("exit 255", "failed with exit code 255"),
    ],
)
def test_what_a_shell_says_by_a_number_is_said_in_words(begin, command, says):
    entrypoint = begin(command)
    entrypoint.wait()
    assert entrypoint.ended_by.startswith(says)
    assert says.endswith("255") is (entrypoint.ended_by == "failed with exit code 255")


def test_the_tail_of_a_long_log_is_short_whatever_is_in_it(begin, tmp_path):
    entrypoint = begin("head -c 3000000 /dev/zero; printf '\\377\\n'; seq 20; exit 1")
    entrypoint.wait()
    assert entrypoint.tail().split() == [str(number) for number in range(11, 21)]
    (tmp_path / "log").write_bytes(b"\xff\0" * 50_000)
    assert len(entrypoint.tail()) <= 20_000


def test_what_it_left_behind_in_its_group_ends_with_it(begin, tmp_path):
    entrypoint = begin("sleep 1000 & echo $!")
    assert entrypoint.wait() == 0
    pid = read_pid(tmp_path)
    eventually(lambda: not runs(pid))


def stop(entrypoint: Entrypoint, patience: float) -> int | None:
    """Stop it from another thread, as the supervisor does."""
    other = threading.Thread(target=entrypoint.stop, args=(patience,))
    other.start()
    code = entrypoint.wait()
    other.join()
    return code


def test_stopping_gives_all_of_it_time_to_clean_up(begin, tmp_path):
    child = "import signal, sys, time"
    child += "; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), print('clean'), sys.exit()))"
    child += "; print('up', flush=True); time.sleep(1000)"
    entrypoint = begin(f'{sys.executable} -uc "{child}" & wait; echo never')
    eventually(lambda: "up" in printed(tmp_path))
    stop(entrypoint, 20.0)
    assert printed(tmp_path) == "up\nclean\n"
    assert entrypoint.stopped


def test_what_does_not_listen_is_killed_also_outside_of_its_group(begin, tmp_path):
    entrypoint = begin(
        "trap '' TERM; setsid sh -c \"trap '' TERM; echo \\$\\$; while :; do sleep 1; done\" &"
        " while :; do sleep 1; done"
    )
    pid = read_pid(tmp_path)
    assert stop(entrypoint, 0.2) is None
    eventually(lambda: not runs(pid))


def test_stopping_what_has_ended_does_nothing(begin):
    entrypoint = begin("true")
    assert entrypoint.wait() == 0
    entrypoint.stop(5.0)
    assert not entrypoint.stopped


def test_it_ends_when_the_process_that_started_it_is_killed(tmp_path):
    program = (
        "import os, pathlib, time; from limelight.cluster.job.entrypoint import Entrypoint\n"
        f"kept = Entrypoint.start('sleep 1000 & echo $!; wait', os.environ, pathlib.Path({str(tmp_path)!r}) / 'log')\n"
        "time.sleep(1000)"
    )
    starter = subprocess.Popen([sys.executable, "-c", program])
    eventually((tmp_path / "log").exists)
    pid = read_pid(tmp_path)
    group = os.getpgid(pid)
    assert runs(pid)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    eventually(lambda: not runs(pid) and not runs(group))


def test_it_does_not_begin_where_that_process_is_killed_before_anybody_guards_it(tmp_path):
    program = (
        "import os, pathlib, signal, subprocess; from limelight.cluster.job.entrypoint import Entrypoint\n"
        "class Deadly(subprocess.Popen):\n"
        "    def __init__(self, *arguments, **options):\n"
        "        if first: print(first[0].pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        "        super().__init__(*arguments, **options); first.append(self)\n"
        "first = []; subprocess.Popen = Deadly\n"
        f"Entrypoint.start('echo begun; sleep 1000', os.environ, pathlib.Path({str(tmp_path)!r}) / 'log')"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.PIPE)
    assert ended.returncode == -signal.SIGKILL
    eventually(lambda: not runs(int(ended.stdout)))
    assert not printed(tmp_path)


def test_its_standard_input_is_empty_and_its_variables_are_those_given(tmp_path):
    entrypoint = Entrypoint.start("cat; env", {"a.b": "1", "PATH": os.environ["PATH"]}, tmp_path / "log")
    assert entrypoint.wait() == 0
    assert "a.b=1" in printed(tmp_path).splitlines()
    assert "SHLVL=0" in printed(tmp_path).splitlines()


def test_a_command_that_cannot_be_started_leaves_nothing(tmp_path):
    with pytest.raises(OSError):
        Entrypoint.start("true", os.environ, tmp_path / "no folder" / "log")


def test_what_could_not_be_guarded_does_not_begin_and_is_ended(tmp_path, monkeypatch):
    started, popen = [], subprocess.Popen

    def no_second(*arguments, **options):
        if started:
            raise OSError(11, "Resource temporarily unavailable")
        started.append(popen(*arguments, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", no_second)
    with pytest.raises(OSError, match="temporarily unavailable"):
        Entrypoint.start("echo begun; sleep 1000", os.environ, tmp_path / "log")
    assert started[0].returncode == -signal.SIGKILL
    assert not printed(tmp_path)


def test_the_log_is_its_owners_and_is_never_written_through_a_link(begin, tmp_path):
    (tmp_path / "theirs").write_text("precious")
    (tmp_path / "log").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        begin("echo overwritten")
    assert (tmp_path / "theirs").read_text() == "precious"
    (tmp_path / "log").unlink()
    begin("true").wait()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_once_it_is_over_nobody_is_signalled(begin, monkeypatch):
    """Its number may be another process group's by then."""
    entrypoint = begin("true")
    entrypoint.wait()
    signalled = []
    monkeypatch.setattr(os, "killpg", lambda *told: signalled.append(told))
    entrypoint.stop(0.0)
    assert signalled == []
