"""docs/cluster.md is true: its commands can be typed, its units are units, its messages the code's."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import limelight
from limelight.cluster.command.command_line import make_parser
from tests.debian import why_no

PACKAGE = Path(limelight.__path__[0])
TEXT = (PACKAGE / "docs" / "cluster.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def source() -> str:
    """The code's texts, without the breaks between their pieces."""
    code = "".join(path.read_text() for folder in ("cluster", "transport") for path in (PACKAGE / folder).rglob("*.py"))
    return re.sub(r'"\s*\n\s*f?"', "", code)


def commands() -> list[str]:
    """All lines that are typed to `cluster`."""
    lines = [line for _, block in BLOCKS for line in block.splitlines()]
    found = [
        re.search(r"(?:^|[ /=])(?:cluster|limelight) ((?:start|join|status|stop|token)\b.*)$", line) for line in lines
    ]
    return [match[1] for match in found if match is not None]


def test_there_are_commands():
    assert len(commands()) >= 8


@pytest.mark.parametrize("line", commands())
def test_a_command_can_be_typed(line):
    assert make_parser().parse_args(shlex.split(line)).run


def test_options_named_in_the_text_exist(capsys):
    shown = ""
    for verb in ("start", "join", "status", "stop", "token"):
        with pytest.raises(SystemExit):
            make_parser().parse_args([verb, "--help"])
        shown += capsys.readouterr().out
    others = {"--cpus", "--memory", "--shm-size", "--restart", "--network", "--name", "--now", "--no-cache-dir"}
    named = set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert named - others
    assert not {option for option in named - others if option not in shown}


def test_messages_are_those_of_the_code():
    table = TEXT.partition("## What went wrong")[2]
    messages = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)[1:]
    code = source()
    assert len(messages) > 10
    assert [message for message in messages if message not in code.replace("{_CONNECT_S:g}", "5")] == []


def test_variables_are_those_of_the_code():
    code = "".join(path.read_text() for path in (PACKAGE / "cluster").rglob("*.py"))
    code += (PACKAGE / "actors" / "session.py").read_text()
    named = set(re.findall(r"`((?:LIMELIGHT|RAY)_[A-Z_]+)`", TEXT))
    assert named == {variable for variable in named if f'"{variable}"' in code}


@pytest.mark.skipif(bool(why_no("systemd-analyze", "systemd")), reason=why_no("systemd-analyze", "systemd"))
def test_units_are_units(tmp_path):
    units = [block for language, block in BLOCKS if language == "ini"]
    assert len(units) == 2
    for number, unit in enumerate(units):
        path = tmp_path / f"limelight-{number}.service"
        runnable = re.sub(r"ExecStart=\S+", f"ExecStart={shutil.which('true')}", unit).replace("limelight\n", "root\n")
        path.write_text(runnable)
        result = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False
        )
        faults = [line for line in result.stderr.splitlines() if path.name in line]
        assert faults == [], unit
