"""The programs of the README and of pages like it print what it says they print; its commands are those in use."""

import fnmatch
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
PAGES = [TEXT, (ROOT / "docs" / "runtime-env.md").read_text()]
"""The texts whose programs are run."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "text", "sh"}
"""Lines of "sh" are typed on several machines: tests/cluster/test_hosts.py does that."""


@dataclass
class Program:
    """The blocks of one section: its Python, as one program, and the output shown; "..." stands for any text."""

    section: str
    code: str = ""
    output: str = ""


def programs(text: str) -> list[Program]:
    """The programs of a text, one a section."""
    found = [Program("")]
    for match in re.finditer(rf"{BLOCK.pattern}|^#+ ([^\n]+)$", text, BLOCK.flags):
        language, block, heading = match.groups()
        if heading:
            found.append(Program(heading))
        elif language == "python":
            found[-1].code += block
        elif language == "text":
            found[-1].output += block
    return [program for program in found if program.code]


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", [program for text in PAGES for program in programs(text)], ids=lambda program: program.section
)
def test_a_program_prints_what_its_text_says(program, tmp_path):
    path = tmp_path / "program.py"
    path.write_text(program.code)
    result = subprocess.run(
        [sys.executable, path], cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False
    )
    assert result.returncode == 0, result.stderr
    pattern = program.output.replace("[", "[[]").replace("...", "*")
    assert fnmatch.fnmatchcase(result.stdout, pattern), f"printed:\n{result.stdout}{result.stderr}"


@pytest.mark.parametrize("text", PAGES, ids=lambda text: text.splitlines()[0])
def test_every_block_is_run_or_compared(text):
    languages = {language for language, _ in BLOCK.findall(text)}
    assert languages <= LANGUAGES, f"these blocks would be neither run nor compared: {languages - LANGUAGES}"
    assert text.count("```") == 2 * len(BLOCK.findall(text))


def test_one_command_runs_the_quickstart_and_one_the_tests():
    commands = re.findall(r"^    (\S.*)$", BLOCK.sub("", TEXT), re.MULTILINE)
    assert [command.rpartition("bin/python ")[2] for command in commands] == ["examples/quickstart.py", "-m pytest"]
    assert "-c constraints.txt" in commands[1]


def test_continuous_integration_runs_the_readme_test_command(tmp_path):
    """The script takes its command from the README: shown one with another command, it runs that."""
    (tmp_path / ".ci").mkdir()
    script = tmp_path / ".ci" / "run"
    script.write_bytes((ROOT / ".ci" / "run").read_bytes())
    (tmp_path / "README.md").write_text("Tests:\n\n    echo ran: python -m pytest\n")
    result = subprocess.run(["bash", script], capture_output=True, text=True, timeout=20, check=True)
    assert result.stdout.splitlines()[-1] == "ran: python -m pytest"


def test_links_lead_somewhere():
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", TEXT)
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert targets
    assert not missing, f"README.md links to {missing}, which are not there."
