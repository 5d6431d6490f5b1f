"""Kills the head of a cluster on this machine again and again while a program uses all of it.

python -m tests.chaos.head_restart --times 10 [--state URL]
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import psutil

COMMAND = [sys.executable, "-m", "limelight.cluster.command.main"]
PROGRAM = str(Path(__file__).with_name("load_program.py"))
PATIENCE = 60.0


class Load(NamedTuple):
    """What became of the program.

    Attributes:
        rounds: by kind of work, when each round began and ended.
        errors: by kind of work; none, if all is well.
        left: actors and groups that should have been gone when it ended.
    """

    rounds: dict[str, list[tuple[float, float]]]
    errors: dict[str, list[str]]
    left: list[str]

    def pauses(self, kills: list[float]) -> list[dict[str, float]]:
        """For each time that the head went, the longest round of each kind from then to the next time."""
        ends = [*kills[1:], float("inf")]
        return [
            {
                kind: max((end - begin for begin, end in rounds if end > kill and begin < until), default=0.0)
                for kind, rounds in self.rounds.items()
            }
            for kill, until in zip(kills, ends, strict=True)
        ]

    def check(self) -> None:
        """Fail unless everything went as if nothing had happened."""
        told = "\n".join(text for texts in self.errors.values() for text in texts)
        assert not self.errors, told
        assert not self.left, self.left
        idle = [kind for kind, rounds in self.rounds.items() if len(rounds) < 2]
        assert not idle, f"{idle} did not get on"


class RunningLoad:
    """`load_program.py`, while it runs.

    Args:
        popen: starts a program on the machine that it is to run on.
        folder: where it looks for the sign to end.
    """

    def __init__(self, popen: Callable[..., subprocess.Popen], folder: Path) -> None:
        self._stop = folder / f"stop-{time.monotonic_ns()}"
        self.process = popen([sys.executable, PROGRAM, str(self._stop)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self._out = self.process.stdout
        first = self._out.readline()
        assert first == "begun\n", f"{first}{self._out.read()}"

    def finish(self) -> Load:
        """Have it end; what it tells."""
        self._stop.touch()
        try:
            self.process.communicate(timeout=3 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return Load(**json.loads(Path(f"{self._stop}.json").read_text()))


class LoneMachine:
    """A cluster of one machine: a head and a node, with a home and a temporary folder of their own.

    Args:
        state: the URL of the head's state; "": the default, in the home.
    """

    def __init__(self, state: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="m"))  # short: Unix sockets lie in it
        (self.folder / "home").mkdir()
        self.port = free_port()
        self.state = state
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LIMELIGHT_TO", "RAY_"))}
        self.environment = {**kept, "HOME": str(self.folder / "home"), "TMPDIR": str(self.folder)}

    def cluster(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def start(self, *options: str) -> str:
        """Start the head, and where none waits for it a node; what the command says."""
        state = ["--state", self.state] if self.state else []
        done = self.cluster("start", "--head", "--port", str(self.port), "--num-cpus", "4", *state, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen:
        """Start a program of the user's."""
        return subprocess.Popen(command, env=self.environment, **options)

    def head(self) -> psutil.Process:
        """The head's process."""
        [info] = [info for info in self.sessions() if info["kind"] == "head"]
        return psutil.Process(info["pid"])

    def node(self) -> psutil.Process:
        """The node's process."""
        [info] = [info for info in self.sessions() if info["kind"] == "node"]
        return psutil.Process(info["pid"])

    def sessions(self) -> list[dict[str, Any]]:
        """What the processes that live say of themselves."""
        folders = (self.folder / f"limelight-{os.getuid()}").glob("[!.]*/session.json")
        found = {path.resolve(): json.loads(path.read_text()) for path in folders}
        return [info for info in found.values() if psutil.pid_exists(info["pid"])]

    def kill_head(self) -> float:
        """Kill the head's process; when that was."""
        head = self.head()
        head.send_signal(signal.SIGKILL)
        killed = time.time()
        head.wait(PATIENCE)
        return killed

    def log(self, kind: str = "head") -> str:
        """What the processes of a kind that still live have logged."""
        logs = (self.folder / f"limelight-{os.getuid()}").glob(f"[!.]*/logs/{kind}.log")
        return "".join(path.read_text() for path in {path.resolve() for path in logs})

    def close(self) -> None:
        """End all of it."""
        processes = [psutil.Process(info["pid"]) for info in self.sessions()]
        try:
            if processes:
                self.cluster("stop", "--force")
        finally:
            for process in processes:
                if process.is_running():
                    process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def restart_under_load(machine: LoneMachine, times: int, between: float = 2.0) -> tuple[Load, list[float]]:
    """Run the program, and kill and restart the head so often; what became of it, and when the head was killed."""
    running = RunningLoad(machine.popen, machine.folder)
    kills: list[float] = []
    try:
        for turn in range(times):
            time.sleep(between)  # the load between two outages, not a condition
            kills.append(machine.kill_head())
            time.sleep(0.7 * (turn % 2))  # an outage of its own length: work piles up
            machine.start()
        time.sleep(between)
        return running.finish(), kills
    except BaseException:
        running.process.kill()
        running.process.communicate()
        raise


def report(load: Load, kills: list[float]) -> str:
    """The figures, for people."""
    lines = [f"{'work':10} rounds  failed  longest round after the head went: median, worst"]
    pauses = load.pauses(kills)
    for kind, rounds in load.rounds.items():
        longest = [pause[kind] for pause in pauses]
        usual = median(end - begin for begin, end in rounds)
        lines.append(
            f"{kind:10} {len(rounds):6}  {len(load.errors.get(kind, [])):6}  "
            f"{median(longest):.2f} s, {max(longest):.2f} s (usual round {usual:.3f} s)"
        )
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, and tell the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--state", default="", metavar="URL")
    options = parser.parse_args()
    machine = LoneMachine(options.state)
    try:
        machine.start("--fresh")
        load, kills = restart_under_load(machine, options.times)
        sys.stdout.write(report(load, kills) + "\n")
        load.check()
    except BaseException:
        sys.stderr.write(f"{machine.log('head')[-4000:]}\n---\n{machine.log('node')[-6000:]}\n")
        raise
    finally:
        machine.close()


if __name__ == "__main__":
    main()
