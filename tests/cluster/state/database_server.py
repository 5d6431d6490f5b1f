"""Real servers of Redis and PostgreSQL for tests: in a folder of their own, on a free port of loopback, ended by pid.

They come from Debian's packages, which are installed if they are missing. They are not system services, and
hold nobody's data.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, TypeVar

import psutil
import pytest

from tests.debian import find, why_no

DEADLINE = 30.0
PASSWORD = "a secret, and 100% of it"
QUOTED = "a%20secret%2C%20and%20100%25%20of%20it"


WHY_NO = {
    "redis-server": why_no("redis-server", "redis-server"),
    "postgres": why_no("postgres", "postgresql"),
}


def binary_of(server: str) -> str:
    """The path of a server's binary; skips the test where there is none."""
    found = find(server)
    if found is None:
        pytest.skip(WHY_NO[server])
    return found


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class DatabaseServer:
    """A server that can be killed, stopped in its tracks, and started again where it was.

    Args:
        folder: where its data and its log go.
    """

    scheme: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen | None = None

    def url(self, cluster: str = "default", password: str = QUOTED, database: str = "") -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self.answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                pytest.fail(f"{self.command()} does not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it takes commands."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it as a crash does, with all its processes."""
        processes = self._processes()
        self._process.kill()
        self._process.wait()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, alive = psutil.wait_procs(processes, DEADLINE)
        assert not alive

    def pause(self) -> None:
        """Stop it in its tracks: connections stay, nothing answers."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has ended meanwhile
                process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.resume()

    def close(self) -> None:
        """End it."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self._process.send_signal(signal.SIGINT)  # PostgreSQL's "fast shutdown"
            try:
                self._process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.kill()

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]


@contextlib.contextmanager
def running(kind: type["AnyServer"], *options: str) -> Iterator["AnyServer"]:
    """A server of this kind, started with further options of its command; all of it is gone afterwards."""
    # Not in the run's own temporary folder, which the user that PostgreSQL runs as cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="ll-server", dir=Path(tempfile.gettempdir()).parent))
    try:
        server = kind(folder, *options)
        try:
            server.start()
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(folder)


class RedisServer(DatabaseServer):
    """Redis with an append-only file and a password."""

    scheme = "redis"

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options
        self._binary = binary_of("redis-server")

    def url(self, cluster="default", password=QUOTED, database="0") -> str:
        return f"redis://:{password}@127.0.0.1:{self.port}/{database}?cluster={cluster}"

    def command(self):
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self.folder, "requirepass": PASSWORD, "save": ""}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [self._binary, *words, *(self._options or ("--appendonly", "yes"))]

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(f'AUTH "{PASSWORD}"\r\nPING\r\n'.encode())
            with connection.makefile("rb") as answers:
                return (answers.readline(), answers.readline()) == (b"+OK\r\n", b"+PONG\r\n")
        return False


class PostgresServer(DatabaseServer):
    """PostgreSQL with one user, `limelight`, and its database."""

    scheme = "postgresql"

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options
        self._binary = binary_of("postgres")
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # it refuses to run as root
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            self._as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            os.chown(folder, user.pw_uid, user.pw_gid)
        self.initialize()

    def initialize(self) -> None:
        """Make the folder of its data."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        initdb = [*self._as_user, str(Path(self._binary).with_name("initdb")), "-D", str(self.folder / "data")]
        options = ["--username=limelight", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"]
        environment = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(
            [*initdb, *options], capture_output=True, text=True, check=False, env=environment, cwd=self.folder
        )
        assert done.returncode == 0, done.stderr

    def url(self, cluster="default", password=QUOTED, database="postgres") -> str:
        return f"postgresql://limelight:{password}@127.0.0.1:{self.port}/{database}?cluster={cluster}"

    def command(self):
        # Its shared memory in its own folder: a crash leaves what is in /dev/shm there.
        options = [
            "-p",
            str(self.port),
            "-h",
            "127.0.0.1",
            "-k",
            "",
            "-c",
            "dynamic_shared_memory_type=mmap",
            *self._options,
        ]
        return [*self._as_user, self._binary, "-D", str(self.folder / "data"), *options]

    def answers(self):
        import psycopg

        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url().partition("?")[0]):
            return True
        return False


AnyServer = TypeVar("AnyServer", RedisServer, PostgresServer)
