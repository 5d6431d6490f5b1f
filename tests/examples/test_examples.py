"""Every example runs by itself, from any directory, and prints what it is there to show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

PRINTS = {
    "mailbox": "100 readers wait in one actor\n100 different messages arrived\n",
    "parameter_server": "120 updates by 3 workers\nweights: [ 2.  -3.   0.5]\nlargest error: below 0.01\n",
    "pi": "(?s).*3,200,000 darts: pi is about 3.14[0-9]{2}\n",
    "pipeline": "(batch [1-8] of 8 is there\n){8}sum of squares below 80: 167480\n",
    "quickstart": (
        r"Limelight runs on [0-9]+ CPUs here\. 12 tasks of 2 s each take 24 s one after the other\.\n"
        r"\[0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121\]\nTime taken: [0-9.]+ s\n"
    ),
    "shared_array": "64 MB shared by 8 tasks\nsame sums as in one process: True\n",
}
"""What each example prints: the text, or a pattern."""


def test_every_example_is_tested():
    assert sorted(PRINTS) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTS)
def test_the_example_prints_what_it_shows(name, tmp_path):
    result = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], cwd=tmp_path, capture_output=True, text=True, timeout=90, check=False
    )
    assert result.returncode == 0, result.stderr
    expected = PRINTS[name]
    assert result.stdout == expected or re.fullmatch(expected, result.stdout), result.stdout + result.stderr
