"""A user's machine for tests of the `cluster` command: a home and a temporary folder of its own, and real processes.

What a process takes itself for can be changed: its version, its Python's, its clock. A `sitecustomize`, which every
Python of the machine imports as it starts, reads that from the environment.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.cluster.network import short_folder

PATIENCE = 30.0
COMMAND = [sys.executable, "-m", "limelight.cluster.command.main"]
TOKEN = "5a" * 32
OTHER_TOKEN = "a5" * 32

DISGUISE = """
import os, platform, time
if "FAKE_VERSION" in os.environ:
    import limelight.transport.version
    limelight.transport.version.VERSION = os.environ["FAKE_VERSION"]
if "FAKE_PYTHON" in os.environ:
    platform.python_version = lambda: os.environ["FAKE_PYTHON"]
if "FAKE_CLOCK" in os.environ:
    clock = time.time
    time.time = lambda: clock() + float(os.environ["FAKE_CLOCK"])
"""


def _heed_ctrl_c() -> None:
    """What runs in the background of a shell, as CI may, is started with SIGINT ignored, and so is what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Machine:
    """One user's view of this machine.

    Args:
        base: where its folder is made; None: where the tests' temporary files are.

    Attributes:
        folder: for temporary files; `home` is in it.
    """

    def __init__(self, base: str | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="m", dir=base)) if base else short_folder("m")
        self.home = self.folder / "home"
        self.home.mkdir()
        (self.folder / "site").mkdir()
        (self.folder / "site" / "sitecustomize.py").write_text(DISGUISE)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("LIMELIGHT_TO", "RAY_"))},
            "HOME": str(self.home),
            "TMPDIR": str(self.folder),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self.folder / "site"), os.environ.get("PYTHONPATH", "")])),
            "COLUMNS": "200",
        }

    def popen(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 - it does next to nothing
        )

    @contextmanager
    def foreground(self, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """A command that stays; it is killed where the test fails."""
        with self.popen(*arguments, **environment) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    def cluster(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. It must come within seconds, whatever is wrong."""
        with self.popen(*arguments, **environment) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(list(arguments), process.returncode, out, err)

    def done(self, *arguments: str, **environment: str) -> str:
        """Run a command that must succeed; what it says."""
        result = self.cluster(*arguments, **environment)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def refused(self, *arguments: str, **environment: str) -> str:
        """Run a command that must fail, without a traceback; what it says, in one line."""
        result = self.cluster(*arguments, **environment)
        assert result.returncode == 1, result.stdout
        assert result.stdout == ""
        assert result.stderr.startswith("cluster: ")
        assert "Traceback" not in result.stderr
        return result.stderr

    def start(self, *options: str, **environment: str) -> str:
        """Start a head and its node on any free port; returns the address."""
        said = self.done("start", "--head", "--port", "0", "--num-cpus", "1", *options, **environment)
        return address_in(said)

    def processes(self, title: str = "limelight: ") -> list[psutil.Process]:
        """What runs here and has a title that begins so."""
        mark = f"TMPDIR={self.folder}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                process = psutil.Process(int(folder.name))
                if process.cmdline()[0].startswith(title) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (OSError, IndexError, psutil.Error):
                continue
        return found

    def only(self, title: str) -> psutil.Process:
        """The one process of that title."""
        [process] = self.processes(title)
        return process

    def sessions(self) -> list[str]:
        """The folders of sessions there are."""
        base = self.folder / f"limelight-{os.getuid()}"
        return sorted(path.name for path in base.glob("*") if path.is_dir() and not path.is_symlink())

    def close(self) -> None:
        """End all that runs here."""
        if self.processes():
            self.cluster("stop", "--force")
        until(lambda: not self.processes(), "all has ended")
        shutil.rmtree(self.folder)


def address_in(said: str) -> str:
    """The head's address, from what `cluster start` says."""
    found = re.search(r"The head listens at ([^ ]+:\d+)", said)
    assert found is not None, said
    return found[1]


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(0.05)


@contextmanager
def machine(base: str | None = None) -> Iterator[Machine]:
    """A machine, and nothing of it afterwards."""
    made = Machine(base)
    try:
        yield made
    finally:
        made.close()
