"""A cluster as users start it: by command, with a home folder of its own, on any free port."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

COMMAND = [sys.executable, "-m", "limelight.cluster.command.main"]
TIMEOUT = 60.0


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class RunningCluster:
    """A head and a node of two CPUs.

    Attributes:
        url: of the dashboard.
        token: the cluster's.
        environment: for programs that use the cluster.
    """

    def __init__(self, home: Path, *options: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LIMELIGHT_", "RAY_"))}
        self.environment = {**inherited, "HOME": str(home), "COLUMNS": "100"}
        self.environment |= {name: os.environ[name] for name in os.environ if name.startswith("LIMELIGHT_TEST")}
        self._options = ("start", "--head", "--port", str(free_port()), "--num-cpus", "2", *options)
        self.start()
        self.token = (home / ".limelight" / "token").read_text().strip()

    def start(self, *more: str) -> None:
        """Start the head, or start it again, with further options."""
        started = self.run(*self._options, *more)
        assert started.returncode == 0, started.stdout + started.stderr
        self.url = re.search(r"dashboard is at (\S+)\.\n", started.stdout)[1]
        self.address = re.search(r"head listens at ([\d.:]+)", started.stdout)[1]

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
        """Run the command `cluster` to its end."""
        return subprocess.run(
            [*COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=TIMEOUT, check=False,
            stdin=subprocess.DEVNULL, **options,
        )  # fmt: skip

    def popen(self, arguments: Sequence[str], **options) -> subprocess.Popen[str]:
        """Start the command `cluster`."""
        return subprocess.Popen([*COMMAND, *arguments], env=self.environment, text=True, **options)

    def stop(self) -> None:
        """End it."""
        stopped = self.run("stop", "--force")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
