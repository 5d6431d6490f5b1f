"""What a command says, where its streams are closed, full, left by their reader, or lack letters."""

import os
import subprocess
import sys

import pytest

from .machine import COMMAND

VERBS = [["start", "--help"], ["--version"], ["token", "--path"]]


def run(*arguments: str, streams: str = "", **options) -> subprocess.CompletedProcess[str]:
    shell = ["sh", "-c", f'exec "$@" {streams}', "sh", *COMMAND, *arguments]
    return subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False, timeout=30, **options)


@pytest.mark.parametrize("arguments", VERBS)
def test_a_full_disk_is_told(arguments):
    result = run(*arguments, streams=">/dev/full")
    assert (result.returncode, result.stderr) == (
        1,
        "cluster: What it says cannot be written: No space left on device.\n",
    )


@pytest.mark.parametrize("arguments", VERBS)
def test_who_does_not_want_to_read_on_is_told_nothing(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        result = run(*arguments, stdout=pipe)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.parametrize("streams", [">&-", "<&- >&-"])
def test_without_standard_streams(streams):
    result = run("token", "--path", streams=streams)
    assert (result.returncode, result.stderr) == (0, "")
    result = run("join", "127.0.0.1:1", streams=streams, env={**os.environ, "LIMELIGHT_TOKEN": "5a" * 32})
    assert result.returncode == 1
    assert "nobody listens at its port 1" in result.stderr


def test_nothing_can_be_said():
    assert run("token", "--path", streams=">&- 2>&-").returncode == 0
    assert run("join", streams=">/dev/full 2>&1").returncode == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_said_in_lines_is_there_at_once(unbuffered):
    code = (
        "import os, sys\n"
        "from limelight.cluster.command.standard_stream import standard_streams\n"
        "with standard_streams():\n"
        "    print('a line', file=sys.stderr)\n"
        "    os._exit(0)"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stderr == "a line\n"


def test_letters_that_are_not_to_be_had():
    result = run("start", "--help", stdout=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (result.returncode, result.stderr) == (0, "")
    assert "--labels KEY=VALUE,?" in result.stdout


def test_a_programs_own_streams_stay():
    code = "import sys; from limelight.cluster.command.main import main; main(['token', '--path']); print('on')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[1:] == ["on"]
