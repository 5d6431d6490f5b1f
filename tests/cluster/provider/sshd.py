"""A real sshd on loopback, with keys, configuration and a folder of its own; hosts are its addresses."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.debian import why_no

HOSTS = ["127.0.0.2", "127.0.0.3"]
"""On Linux all of 127.0.0.0/8 is this machine: two names for it are two hosts with a home each."""


_WHY_NO = why_no("sshd", "openssh-server") or why_no("ssh", "openssh-client") if os.geteuid() == 0 else ""


def require_sshd() -> None:
    """Skip the test where there is no sshd that users can log in to."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to run an sshd that logs in")
    if _WHY_NO:
        pytest.skip(_WHY_NO)


class Sshd:
    """Runs until `close`. Each of HOSTS has a home folder of its own, `home(host)`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for name in ("host_key", "user_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True, capture_output=True)
        (folder / "authorized_keys").write_bytes((folder / "user_key.pub").read_bytes())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for host in HOSTS:
            self.home(host).mkdir(parents=True)
        login = folder / "login"
        # Which host it is shows in the address that was dialled.
        login.write_text(
            "#!/bin/sh\nset -- $SSH_CONNECTION\n"
            f"export HOME={folder}/homes/$3\ncd\n"
            'if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec sh -c "$SSH_ORIGINAL_COMMAND"; fi\nexec sh\n'
        )
        login.chmod(0o755)
        (folder / "sshd_config").write_text(
            f"Port {self.port}\n"
            + "".join(f"ListenAddress {host}\n" for host in HOSTS)
            + f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/authorized_keys\nPidFile none\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin yes\n"
            f"StrictModes no\nKexAlgorithms curve25519-sha256\nSetEnv HOME={folder}\n"
            f"ForceCommand {login}\nMaxStartups 100\n"
        )
        self._process: subprocess.Popen | None = self._start()
        self.know(*HOSTS)

    def home(self, host: str) -> Path:
        """The home folder of whoever logs in there."""
        return self.folder / "homes" / host

    def know(self, *hosts: str) -> None:
        """Have the known hosts be these."""
        key = (self.folder / "host_key.pub").read_text().rsplit(maxsplit=1)[0]
        (self.folder / "known_hosts").write_text("".join(f"[{host}]:{self.port} {key}\n" for host in hosts))

    def close(self) -> None:
        """End it."""
        self.stop()

    def stop(self) -> None:
        """End it, and the sessions it has."""
        if self._process is not None:
            sessions = psutil.Process(self._process.pid).children(recursive=True)
            for process in [*sessions, self._process]:
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None

    def go_on(self) -> None:
        """Start it again, unless it runs."""
        if self._process is None:
            self._process = self._start()

    def _start(self) -> subprocess.Popen:
        log = self.folder / "sshd.log"
        log.write_bytes(b"")
        with log.open("ab") as file:
            command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "sshd_config")]
            process = subprocess.Popen(command, stderr=file)
        deadline = time.monotonic() + 20
        while "Server listening" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        return process
