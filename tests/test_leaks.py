"""The leak check finds what it is for: each kind of thing, left behind on purpose, fails its module and is named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

CONFTEST = """
import tests.conftest
from tests.conftest import *
tests.conftest.GRACE = 0.2
tests.conftest.task_watch.grace = 0.2
"""

LEAKS = {
    "child": "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
    "orphan": "subprocess.run(['sh', '-c', 'setsid sleep 61 >/dev/null 2>&1 &'], check=True)",
    "thread": "threading.Thread(target=stop.wait, args=(3,), name='stray').start()",
    "daemon": "threading.Thread(target=stop.wait, daemon=True, name='limelight wire').start()",
    "folder": "tempfile.mkdtemp(prefix='limelight-')",
    "socket": "s = socket.socket(socket.AF_UNIX); s.bind(os.path.join(tempfile.gettempdir(), 'stray')); s.close()",
    "memory": "Path('/dev/shm', f'limelight-leak-{os.getpid()}').touch()",
    "task": "async def test(): tasks.append(asyncio.create_task(asyncio.Event().wait(), name='stray'))",
}
"""Statements of a test, or a whole test, by the kind of thing they leave behind."""

NAMED_AS = {
    "child": "(python",
    "orphan": "(sleep): sleep 61",
    "thread": "thread 'stray'",
    "daemon": "thread 'limelight wire'",
    "folder": "folder or file",
    "socket": "socket /",
    "memory": "shared memory /dev/shm/limelight-leak-",
    "task": "asyncio task stray",
}

CLEAN = {
    "thread": "threading.Thread(target=print).start()",
    "child": "subprocess.Popen(['true'])",
    "folder": "tempfile.mkdtemp(prefix='something-else-')",
    "task": "async def test(): tasks.append(asyncio.create_task(asyncio.sleep(0.01)))",
}

HEAD = """
import asyncio, os, socket, subprocess, sys, tempfile, threading
from pathlib import Path
stop, tasks = threading.Event(), []
"""


def run_modules(folder: Path, statements: dict[str, str]) -> str:
    """What pytest says of one module for each statement, under this suite's conftest."""
    (folder / "conftest.py").write_text(CONFTEST)
    for kind, statement in statements.items():
        test = statement if "def test" in statement else f"def test():\n    {statement}"
        (folder / f"test_{kind}.py").write_text(f"{HEAD}{test}\n")
    options = ["-q", "-W", "default", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "--import-mode=importlib"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(folder), "-c", os.devnull, str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    return run_modules(tmp_path_factory.mktemp("leaking"), LEAKS)


@pytest.mark.parametrize("kind", LEAKS)
def test_what_is_left_behind_is_named_with_its_module(kind, report):
    _, found, rest = report.partition(f"test_{kind}.py left behind:\n")
    assert found, report
    assert NAMED_AS[kind] in rest.partition("\n")[0], report


def test_each_module_answers_only_for_its_own(report):
    assert f"{len(LEAKS)} passed" in report, report
    assert f"{len(LEAKS)} errors" in report, report


def test_clean_modules_pass(tmp_path):
    said = run_modules(tmp_path, CLEAN)
    assert f"{len(CLEAN)} passed" in said, said
    assert "left behind" not in said, said
