"""Hosts for tests: each has its own network, processes, name and temporary folders, all behind one switch.

A host is a set of Linux namespaces (namespaces(7)) whose process 1 is a sleeping program. When that is killed the
kernel kills everything on the host at once, as a power cut does. The hosts see the machine's file system, but have a
/dev/shm of their own, and a folder each for temporary files and their user's home. Nothing of this touches the network
of the machine itself.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.debian import find, why_no

TIMEOUT = 60.0

_LONGEST_BASE = 18
_PROGRAMS = {
    **dict.fromkeys(("ip", "tc"), "iproute2"),
    **dict.fromkeys(("unshare", "nsenter"), "util-linux"),
    "mount": "mount",
    "ps": "procps",
}
"""What hosts are made with, and the packages of it."""


def why_not() -> str:
    """Why hosts cannot be made here; "" where they can."""
    if sys.platform != "linux":
        return "needs Linux's namespaces"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    for program, package in _PROGRAMS.items():
        if reason := why_no(program, package):
            return reason
    probe = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "true"], capture_output=True, text=True, check=False)
    return f"namespaces are not to be had here: {probe.stderr.strip()}" if probe.returncode else ""


class Network:
    """Hosts at 10.77.0.1, 10.77.0.2 and so on, and the switch between them."""

    def __init__(self) -> None:
        self._name = f"ll{secrets.token_hex(3)}"
        self._switch = f"{self._name}-switch"
        self.hosts: list[Host] = []
        _ip("netns", "add", self._switch)
        self._in_switch("link", "add", "bridge", "type", "bridge")
        self._in_switch("link", "set", "bridge", "up")

    def add_host(self) -> "Host":
        """A new host."""
        host = Host(self._name, self._switch, len(self.hosts) + 1)
        self.hosts.append(host)
        return host

    def shape(self, host: "Host", rate: str) -> None:
        """Let no more than `rate` through a host's link, in either direction (as tc-tbf(8) writes it: "1gbit")."""
        limit = ("root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms")
        for namespace, device in ((self._switch, host.port), (host.namespace, "eth0")):
            subprocess.run([find("tc") or "tc", "-n", namespace, "qdisc", "replace", "dev", device, *limit], check=True)

    def close(self) -> None:
        """End all hosts and remove what was made."""
        for host in self.hosts:
            host.kill()
        _ip("netns", "del", self._switch)

    def _in_switch(self, *arguments: str) -> None:
        _ip("-n", self._switch, *arguments)


class Host:
    """One host.

    Attributes:
        address: its IP address.
        name: its host name.
        folder: for its temporary files; `home` is in it.
        namespace, port: its network namespace, and its port of the switch.
    """

    def __init__(self, network: str, switch: str, number: int) -> None:
        self.address = f"10.77.0.{number}"
        self.name = f"host{number}"
        self._switch, self.port = switch, f"port{number}"
        self.namespace = f"{network}-{number}"
        self.folder = short_folder("h")
        self.home = self.folder / "home"
        self.home.mkdir()
        _ip("netns", "add", self.namespace)
        _ip("-n", switch, "link", "add", self.port, "type", "veth", "peer", "eth0", "netns", self.namespace)
        _ip("-n", switch, "link", "set", self.port, "master", "bridge", "up")
        _ip("-n", self.namespace, "link", "set", "lo", "up")
        _ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self.namespace, "link", "set", "eth0", "up")
        prepare = f"hostname {self.name} && mount -t tmpfs tmpfs /dev/shm && echo up && exec sleep infinity"
        self._init = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc",
             "--kill-child", "sh", "-c", prepare],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == "up\n"
        # `unshare --fork` waits for its child, process 1 of the host.
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        self._pid = int(children.read_text().split()[0])
        self.alive = True

    def popen(self, command: Sequence[str], env: dict[str, str] | None = None, **options) -> subprocess.Popen:
        """Start a program on the host."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "TMPDIR": str(self.folder),
            "LANG": "C.UTF-8",
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
            **(env or {}),
        }
        enter = ["nsenter", "--target", str(self._pid), "--mount", "--uts", "--net", "--pid"]
        return subprocess.Popen([*enter, "--", *command], env=environment, **options)

    def run(self, command: Sequence[str], timeout: float = TIMEOUT, **options) -> subprocess.CompletedProcess[str]:
        """Run a program on the host to its end, with its output as text."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        with self.popen(command, text=True, start_new_session=True, **pipes, **options) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                pytest.fail(f"{' '.join(command)} on {self.name} has not ended in {timeout:g} s:\n{out}\n{err}")
        return subprocess.CompletedProcess(list(command), process.returncode, out, err)

    def unplug(self) -> None:
        """Cut the host off: nothing gets through in either direction, and nobody is told."""
        _ip("-n", self._switch, "link", "set", self.port, "nomaster")

    def plug(self) -> None:
        """Undo `unplug`."""
        _ip("-n", self._switch, "link", "set", self.port, "master", "bridge")

    def processes(self) -> list[str]:
        """The command lines of what runs on the host, but for its process 1, which reaps nobody."""
        listed = self.run(["ps", "-eo", "pid=,state=,args="]).stdout.splitlines()
        rows = [line.split(maxsplit=2) for line in listed]
        return [row[2] for row in rows if row[0] != "1" and row[1] != "Z" and "ps -eo" not in row[2]]

    def kill(self) -> None:
        """The power cut. Idempotent."""
        if not self.alive:
            return
        self.alive = False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._init.wait()
        assert self._init.stdout is not None
        self._init.stdout.close()
        _ip("netns", "del", self.namespace)
        shutil.rmtree(self.folder, ignore_errors=True)


def short_folder(prefix: str) -> Path:
    """A new folder whose path leaves room for Unix sockets: else sessions would lie in /tmp, with all others."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=prefix, dir=usual if len(usual) <= _LONGEST_BASE else "/tmp"))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
