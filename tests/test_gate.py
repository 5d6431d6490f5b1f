"""The gate: the linter, the formatter and the type checker find nothing to say about the tree.

They run as tests so that one command, the README's, is all there is to run before a change goes in. The tools come with
the extra "dev"; with "test" alone these tests are skipped.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of this interpreter's environment at the repository's root."""
    if importlib.util.find_spec(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: it comes with the extra 'dev'")
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_ruff_finds_no_fault():
    result = run("ruff", "check", "--no-cache", "--output-format=concise", ".")
    assert result.returncode == 0, f"`ruff check .` found:\n{result.stdout}{result.stderr}"


def test_the_code_is_formatted():
    result = run("ruff", "format", "--no-cache", "--check", ".")
    assert result.returncode == 0, f"Run `ruff format .`:\n{result.stdout}{result.stderr}"


@pytest.mark.timeout(300)
def test_pyright_finds_no_error(tmp_path: Path):
    """Strict on the package; tests/typing is checked as a user's program, which sees the package by its name."""
    # Pyright cannot follow the import hook of an editable install, so the package is shown to it under a link.
    (tmp_path / "limelight").symlink_to(ROOT)
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    result = run("pyright", "--project", ".", "--pythonpath", sys.executable, "--outputjson", PYTHONPATH=paths)
    try:
        report = json.loads(result.stdout)
    except ValueError:
        pytest.fail(f"pyright did not run (exit status {result.returncode}):\n{result.stdout}{result.stderr}")
    findings = [describe(finding) for finding in report["generalDiagnostics"]]
    assert not findings, "pyright found:\n" + "\n".join(findings)
    assert report["summary"]["filesAnalyzed"] > 0, f"pyright looked at no file:\n{result.stdout}"


def describe(finding: dict) -> str:
    path = Path(finding["file"])
    place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    line = finding.get("range", {}).get("start", {}).get("line", -1) + 1
    rule = finding.get("rule", "")
    return f"{place}:{line}: {finding['severity']}: {finding['message']} {f'({rule})' if rule else ''}".rstrip()
