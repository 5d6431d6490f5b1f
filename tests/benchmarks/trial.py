"""One run of one case on one engine, from starting the driver to clearing up after it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .driver import FIGURES
from .engine import ROOT, Engine
from .footprint import SESSION_MARK, processes_marked

GRACE = 10.0
"""Seconds that the session's processes are given to end after the driver has."""

LAST_WORDS = 4000
"""How many characters of a failed driver's output are shown."""


@dataclass(frozen=True)
class Trial:
    """What came of one run.

    Attributes:
        engine: the engine's name.
        case: the case's name.
        figures: by row; empty where the run failed.
        failure: what went wrong with the run, or with its end; empty where nothing did.
    """

    engine: str
    case: str
    figures: dict[str, float] = field(default_factory=dict)
    failure: str = ""


def run(engine: Engine, case: str, seconds: float, limit: float) -> Trial:
    """Run a case in a fresh driver process in an empty working directory, and end all that it leaves behind.

    Args:
        engine: which one.
        case: the case's name.
        seconds: for how long to measure.
        limit: seconds after which the driver is killed and the run has failed.
    """
    mark = uuid.uuid4().hex
    with _work_folder(engine) as folder, (folder / "output").open("w+") as output:
        driver = subprocess.Popen(
            [engine.python, "-X", "faulthandler", "-m", "tests.benchmarks.driver", engine.module, case, str(seconds)],
            cwd=folder / "cwd",
            env=_environment(engine, folder, mark),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            status = driver.wait(limit)
            failure = f"exit status {status}" if status else ""
            _wait_for_the_end(mark)
        except subprocess.TimeoutExpired:
            failure = f"no end after {limit:.0f} s"
            _let_it_say_where_it_is(driver)
        finally:
            left = _end_all(mark)
            driver.wait()
        output.seek(0)
        said = output.read()
    figures = {} if failure else _figures(said)
    if not figures:
        return Trial(engine.module, case, failure=f"{failure or 'no figures'}; its last words:\n{said[-LAST_WORDS:]}")
    return Trial(engine.module, case, figures, f"left {left} processes behind" if left else "")


@contextlib.contextmanager
def _work_folder(engine: Engine) -> Iterator[Path]:
    # A short name: a Unix socket's path has room for 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="b"))
    try:
        (folder / "cwd").mkdir()
        (folder / "path").mkdir()
        for name, path in {"tests": ROOT / "tests", **engine.paths}.items():
            (folder / "path" / name).symlink_to(path)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(engine: Engine, folder: Path, mark: str) -> dict[str, str]:
    """The user's environment, with no other cluster to find, and temporary files where they are cleared away."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "LIMELIGHT_ADDRESS")}
    places = {"TMPDIR": str(folder), "RAY_TMPDIR": str(folder), "PYTHONPATH": str(folder / "path")}
    return {**inherited, **engine.environment, **places, SESSION_MARK: mark}


def _figures(said: str) -> dict[str, float]:
    lines = [line.removeprefix(FIGURES) for line in said.splitlines() if line.startswith(FIGURES)]
    return json.loads(lines[-1]) if lines else {}


def _let_it_say_where_it_is(driver: subprocess.Popen[bytes]) -> None:
    """Abort the driver: Python's fault handler then writes the stacks of all its threads."""
    driver.send_signal(signal.SIGABRT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.wait(2)


def _wait_for_the_end(mark: str) -> None:
    deadline = time.monotonic() + GRACE
    while processes_marked(mark) and time.monotonic() < deadline:
        time.sleep(0.05)


def _end_all(mark: str) -> int:
    """Kill what is left of a session; returns how many processes that were."""
    left = processes_marked(mark)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)
