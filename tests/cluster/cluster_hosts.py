"""The `cluster` command on hosts made of namespaces: what tests and benchmarks of several machines share."""

import os
import re
import sys
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import psutil

from .network import Host

COMMAND = [sys.executable, "-m", "limelight.cluster.command.main"]
PATIENCE = 40.0


class ClusterHosts:
    """A cluster in the making.

    Args:
        hosts: the first one is the head's.
    """

    def __init__(self, hosts: list[Host]) -> None:
        self.hosts = hosts
        self.head = hosts[0]
        self.token = ""

    def start(self, *options: str) -> str:
        """Start the head, and a node beside it; returns what the command says."""
        said = self.cluster(self.head, "start", "--head", "--host", self.head.address, *options)
        found = re.search(r"LIMELIGHT_TOKEN=(\w+) cluster join (\S+)", said)
        assert found is not None, said
        self.token, self.address = found[1], found[2]
        return said

    def join(self, host: Host, *options: str) -> str:
        """Make a host a node, with the line that `start` prints."""
        return self.cluster(host, "join", self.address, *options)

    def cluster(self, host: Host, *arguments: str) -> str:
        """Run a command on a host; it must succeed."""
        environment = {"LIMELIGHT_TOKEN": self.token, "COLUMNS": "200"} if self.token else {"COLUMNS": "200"}
        result = host.run([*COMMAND, *arguments], env=environment)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def program(self, host: Host, code: str, *arguments: str) -> str:
        """Run a program on a host; what it prints."""
        result = host.run([sys.executable, "-c", code, *arguments])
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def alive(self, host: Host | None = None) -> dict[str, list[str]]:
        """The lines of the nodes that are there, by name, as `cluster status` shows them on a host (the head's)."""
        page = self.cluster(host or self.head, "status").partition("RESOURCE")[0]
        return {line.split()[1]: line.split() for line in page.splitlines()[3:] if line}

    def gone(self) -> dict[str, str]:
        """Why which nodes are not there any more, by name; of several of a name the last."""
        page = self.cluster(self.head, "status").partition("GONE")[2]
        rows = takewhile(str.strip, page.splitlines()[1:])  # below, whole reasons that are too long for the table
        return {name: why for _, name, why in (row.split(maxsplit=2) for row in rows)}


def process_on(host: Host, title: str) -> psutil.Process:
    """The one process of a host with that title, as it is known outside of the host."""
    mark = f"TMPDIR={host.folder}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = (folder / "cmdline").read_bytes().startswith(title.encode())
            if named and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(psutil.Process(int(folder.name)))
        except (OSError, psutil.Error):
            continue
    [process] = found
    return process


def sessions(host: Host) -> list[str]:
    """The folders of sessions on a host."""
    base = host.folder / f"limelight-{os.getuid()}"
    return sorted(path.name for path in base.glob("*-*") if path.is_dir())


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE, pause: float = 0.1) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(pause)
