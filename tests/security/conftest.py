"""A cluster as people start it, on this machine's loopback, for strangers to try."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

COMMAND = [sys.executable, "-m", "limelight.cluster.command.main"]

_SPY = """
import os, pickle, signal

def try_to_unpickle(*_):
    path = os.path.join(os.environ["TRY_TO_UNPICKLE"], str(os.getpid()))
    try:
        said = pickle.loads(pickle.dumps(os.getcwd)).__name__
    except BaseException as error:
        said = repr(error)
    with open(path + ".new", "w") as file:
        file.write(said)
    os.rename(path + ".new", path)

signal.signal(signal.SIGUSR1, try_to_unpickle)
"""
"""Runs in every interpreter of the cluster at its start: when asked by SIGUSR1, does what no message makes it do."""


class LoopbackCluster:
    """A head and a node.

    Attributes:
        token: the cluster's.
        home: of who started it.
        folder: LIMELIGHT_TMPDIR, with the session's folders.
        spies: where processes write what `_SPY` has found.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.spies = folder / "spies"
        site = folder / "site"
        for made in (self.home, self.spies, site):
            made.mkdir()
        (site / "sitecustomize.py").write_text(_SPY)
        (self.home / "secret").write_text("the secret of the canary")
        self.env = os.environ | {
            "HOME": str(self.home),
            "LIMELIGHT_TMPDIR": str(folder),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")])),
            "TRY_TO_UNPICKLE": str(self.spies),
        }
        self.said = ""
        self.token = ""

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self.env | env, capture_output=True, text=True, timeout=60, check=False, cwd=self.folder
        )

    def cluster(self, *words: str, **env: str) -> str:
        ended = self.run(*COMMAND, *words, **env)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def python(self, program: str) -> str:
        ended = self.run(sys.executable, "-c", program)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def processes(self) -> list[psutil.Process]:
        """All that run, whoever started them."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("LIMELIGHT_TMPDIR") == str(self.folder):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def system_processes(self) -> Iterator[tuple[int, str]]:
        """The process ids of the head and the node manager, each with which it is."""
        for process in self.processes():
            title = " ".join(process.cmdline())
            for kind in ("head", "node"):
                if title.startswith(f"limelight: {kind}"):
                    yield process.pid, kind

    def ports(self) -> list[tuple[str, int]]:
        """Every port that one of them listens on, so that none is forgotten."""
        connections = [found for process in self.processes() for found in process.net_connections("inet")]
        listening = [found.laddr for found in connections if found.status == psutil.CONN_LISTEN]
        assert all(found.laddr for found in connections if found.type is socket.SOCK_DGRAM), "a port of UDP"
        return sorted({(address.ip, address.port) for address in listening})


@pytest.fixture(scope="module")
def cluster() -> Iterator[LoopbackCluster]:
    made = LoopbackCluster(Path(tempfile.mkdtemp(prefix="c")))  # a short name: sockets lie in it
    try:
        # The token comes by the environment, as on a machine that joins.
        made.token = made.cluster("token").strip()
        made.said = made.cluster("start", "--head", "--port", "0", LIMELIGHT_TOKEN=made.token)
        yield made
    finally:
        made.cluster("stop", "--force")
        shutil.rmtree(made.folder)


class Canary:
    """A server that must never hear anything: somebody's internal service."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                said = connection.recv(1000)
                if said == b"end":
                    return
                self.heard.append(said)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\nthe secret of the canary")

    def close(self) -> None:
        with socket.create_connection(self._listening.getsockname()) as last:
            last.sendall(b"end")
        self._thread.join()
        self._listening.close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    made = Canary()
    yield made
    made.close()
