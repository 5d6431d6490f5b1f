"""What docs/jobs.md says is so: its programs run, and its commands and options exist."""

import re
import subprocess
import sys

import pytest

from limelight.cluster.command.main import main
from tests.source_tree import ROOT

TEXT = (ROOT / "docs" / "jobs.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_programs_print_what_is_shown(cluster, tmp_path):
    (language, program), (_, client), (last, output) = BLOCK.findall(TEXT)
    assert (language, last) == ("python", "text")
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-c", client], cwd=tmp_path, env=cluster.environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == output, done.stderr


@pytest.mark.parametrize("verb", ["submit", "list", "status", "logs", "stop", "delete"])
def test_the_commands_have_the_options_that_are_named(verb, capsys):
    with pytest.raises(SystemExit):
        main(["job", verb, "--help"])
    shown = capsys.readouterr().out
    typed = re.findall(rf"^    cluster job {verb}\b(.*)$", TEXT, re.MULTILINE)
    assert typed
    for option in re.findall(r"--[a-z][a-z-]*", " ".join(typed).replace(" -- ", " ")):
        assert option in shown
