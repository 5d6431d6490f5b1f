"""The state of a head cannot be written for a while: nothing is acknowledged that was not kept, and all is told."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.head_restart import PATIENCE, LoneMachine
from tests.cluster.state.database_server import PostgresServer, RedisServer, running

PROGRAM = """
import os, sys, limelight as ll
ll.init(address="auto", namespace="here", log_to_driver=False)
@ll.remote(num_cpus=0)
class Kept:
    def __init__(self, number, load): self.number = number
    def get(self): return self.number
@ll.remote
def square(x): return x * x
actors = []
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    actors.append(Kept.options(name=f"kept {number}", lifetime="detached").remote(number, os.urandom(10_000)))
    print("acknowledged", number, flush=True)
    print(ll.get(square.remote(number)), flush=True)
print(ll.get([actor.get.remote() for actor in actors]))
"""


class Program:
    """Makes actors that outlive it, one after the other."""

    def __init__(self, machine: LoneMachine, begin: int, end: int) -> None:
        self.errors = machine.folder / f"errors {begin}"
        with self.errors.open("w") as errors:
            command = [sys.executable, "-c", PROGRAM, str(begin), str(end)]
            self.process = machine.popen(command, stdout=-1, stderr=errors, text=True)

    def says(self) -> str:
        """The next line."""
        return self.process.stdout.readline().strip()

    def until_told(self, words: str) -> None:
        """Wait until it was told that."""
        until(lambda: words in self.errors.read_text(), lambda: f"{words!r} in {self.errors.read_text()!r}")

    def close(self) -> None:
        """Nothing is left of it."""
        self.process.kill()
        with self.process:
            """Its pipes are closed."""


def until(condition, what) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


@contextmanager
def machine_with(state: str) -> Iterator[LoneMachine]:
    """A cluster whose head keeps its state there."""
    machine = LoneMachine(state)
    machine.environment["LIMELIGHT_gcs_server_request_timeout_seconds"] = "1"
    try:
        yield machine
    finally:
        machine.close()


@contextmanager
def program_on(machine: LoneMachine, begin: int, end: int) -> Iterator[Program]:
    """The program, running."""
    program = Program(machine, begin, end)
    try:
        yield program
    finally:
        program.close()


@pytest.fixture
def disk(tmp_path):
    """A file system of 16 MiB, of which the log of SQLite takes up to 4."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no byte free."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return filler


@pytest.mark.timeout(150)
@pytest.mark.slow
def test_a_full_disk_is_told_and_costs_nothing_and_all_goes_on_when_there_is_room(disk):
    with machine_with(f"sqlite:///{disk}/state.sqlite") as machine:
        machine.start()
        with program_on(machine, 0, 1) as program:
            assert [program.says() for _ in range(3)] == ["acknowledged 0", "0", "[0]"]
        filler = fill(disk)
        with program_on(machine, 1, 6) as program:
            program.until_told("state.sqlite is full: make room there")
            status = machine.cluster("status")
            assert "so what is new waits: The disk of the state in the file" in status.stdout, status.stderr
            assert "The state cannot be written, and is kept until it can: The disk" in machine.log("head")
            filler.unlink()
            said = [program.says() for _ in range(11)]
            assert said[0::2] == [*(f"acknowledged {number}" for number in range(1, 6)), str([*range(1, 6)])]
            assert program.process.wait(PATIENCE) == 0


@pytest.mark.timeout(150)
@pytest.mark.slow
def test_a_head_that_dies_with_its_disk_full_had_kept_what_it_acknowledged(disk):
    with machine_with(f"sqlite:///{disk}/state.sqlite") as machine:
        filler = fill(disk)
        refused = machine.cluster("start", "--head", "--port", str(machine.port), "--state", machine.state)
        assert refused.returncode == 1
        assert "state.sqlite is full: make room there" in refused.stderr
        filler.unlink()
        machine.start()
        size = fill(disk).stat().st_size
        os.truncate(filler, size - 200_000)  # enough for some of them
        with program_on(machine, 0, 8) as program:
            program.until_told("state.sqlite is full: make room there")
            machine.kill_head()
            filler.unlink()
            machine.start()
            said = [program.says() for _ in range(17)]
            assert said[-1] == str([*range(8)]), program.errors.read_text()
            assert program.process.wait(PATIENCE) == 0


@pytest.mark.timeout(150)
@pytest.mark.slow
def test_a_redis_without_memory_is_told_and_all_goes_on_when_it_has_some():
    from redis import Redis

    with running(RedisServer) as server, machine_with(f"{server.url()}&volatile=accept") as machine:
        console = Redis.from_url(server.url().partition("?")[0])
        machine.start()
        with program_on(machine, 0, 1) as program:
            assert program.says() == "acknowledged 0"
        console.config_set("maxmemory", "1mb")
        with program_on(machine, 1, 4) as program:
            program.until_told("has no memory left for the state (maxmemory)")
            console.config_set("maxmemory", "0")
            said = [program.says() for _ in range(7)]
            assert said[-1] == "[1, 2, 3]"
            assert program.process.wait(PATIENCE) == 0
        console.close()


@pytest.mark.timeout(150)
@pytest.mark.slow
def test_a_postgresql_that_is_stopped_is_told_and_all_goes_on_when_it_is_started():
    with running(PostgresServer) as server, machine_with(server.url()) as machine:
        machine.start()
        with program_on(machine, 0, 1) as program:
            assert program.says() == "acknowledged 0"
        server.close()
        with program_on(machine, 1, 4) as program:
            program.until_told("is out of reach")
            server.start()
            said = [program.says() for _ in range(7)]
            assert said[-1] == "[1, 2, 3]"
            assert program.process.wait(PATIENCE) == 0
