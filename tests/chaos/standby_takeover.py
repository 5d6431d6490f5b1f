"""Has a standby head take over, in every way that a leader can fail, while a program uses all of the cluster.

python -m tests.chaos.standby_takeover [--state redis|postgresql] [power-cut killed paused cut-off-from-state …]

Hosts are made of namespaces (tests/cluster/network.py): two with heads, one with a node and the program, one with the
database that the heads keep their state in.
"""

import argparse
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.head_restart import COMMAND, PATIENCE, Load, RunningLoad, report
from tests.cluster.network import Host, Network
from tests.cluster.state.database_server import binary_of

TOKEN = {"LIMELIGHT_TOKEN": "ab" * 32}


def start_redis(host: Host, folder: Path) -> tuple[str, subprocess.Popen]:
    """A Redis server on a host: the URL of a state in it, and its process."""
    binary = binary_of("redis-server")
    options = ["--bind", host.address, "--protected-mode", "no", "--appendonly", "yes", "--dir", str(folder)]
    process = host.popen([binary, *options], stdout=subprocess.DEVNULL)
    return f"redis://{host.address}:6379/0", process


def start_postgres(host: Host, folder: Path) -> tuple[str, subprocess.Popen]:
    """A PostgreSQL server on a host: the URL of a state in it, and its process."""
    binary = Path(binary_of("postgres"))
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    data = folder / "data"
    os.chown(folder, user.pw_uid, user.pw_gid)
    made = host.run([*as_user, str(binary.with_name("initdb")), "-D", str(data), "-U", "limelight", "--no-sync"])
    assert made.returncode == 0, made.stderr
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.77.0.0/24 trust\n")
    options = ["-h", host.address, "-k", "", "-c", "dynamic_shared_memory_type=mmap"]
    process = host.popen([*as_user, str(binary), "-D", str(data), *options], stderr=subprocess.DEVNULL)
    return f"postgresql://limelight:none@{host.address}:5432/postgres", process


SERVERS: dict[str, Callable[[Host, Path], tuple[str, subprocess.Popen]]] = {
    "redis": start_redis,
    "postgresql": start_postgres,
}


class StandbyCluster:
    """Two hosts with heads, the second of which stands by, and one with a node.

    Attributes:
        heads: the hosts with a head.
        worker: the host with a node.
        store: the host with the database.
    """

    def __init__(self, state: str, *options: str) -> None:
        self._options = options  # of the heads
        self.network = Network()
        self._data = Path(tempfile.mkdtemp(prefix="ll-server", dir="/var/tmp"))  # PostgreSQL's user can enter it
        try:
            self.heads = [self.network.add_host(), self.network.add_host()]
            self.worker, self.store = self.network.add_host(), self.network.add_host()
            self.url, self._server = SERVERS[state](self.store, self._data)
            for host in self.heads:
                self.start_head(host)
            self.done(self.worker, "join", self.heads[0].address, "--num-cpus", "4")
        except BaseException:
            self.network.close()
            raise

    def done(self, host: Host, *arguments: str) -> str:
        """Run a command on a host, which must succeed."""
        result = host.run([*COMMAND, *arguments], env=TOKEN)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def start_head(self, host: Host) -> str:
        """Start a head on a host; it leads, or stands by."""
        deadline = time.monotonic() + PATIENCE
        command = ["start", "--head", "--head-only", "--host", host.address, "--state", self.url, *self._options]
        while True:
            result = host.run([*COMMAND, *command], env=TOKEN)
            if result.returncode == 0:
                return result.stdout
            assert "state" in result.stderr.lower(), result.stderr
            assert time.monotonic() < deadline, result.stderr  # the database is still starting
            time.sleep(0.1)

    def signal_head(self, host: Host, number: signal.Signals) -> None:
        """Send a host's head a signal."""
        pid = self.session(host)["pid"]
        assert host.run(["kill", f"-{number.value}", str(pid)]).returncode == 0

    def session(self, host: Host) -> dict:
        """What a host's head says of itself."""
        found = host.run(["sh", "-c", f"cat {host.folder}/limelight-0/[!.]*-*/session.json"]).stdout
        infos = [json.loads(text) for text in re.findall(r"\{.*?\}(?=\{|\s*$)", found, re.DOTALL)]
        return next(info for info in infos if info["kind"] == "head")

    def log(self, host: Host, kind: str = "head") -> str:
        """What a host's process of a kind has logged."""
        return host.run(["sh", "-c", f"cat {host.folder}/limelight-0/[!.]*-*/logs/{kind}.log"]).stdout

    def leads(self, host: Host, times: int = 1) -> bool:
        """Whether a host's head has begun to lead so often."""
        return self.log(host).count("leading session") >= times

    def stands_by(self, host: Host) -> bool:
        """Whether a host's head has begun to stand by, and has not led since."""
        log = self.log(host)
        return log.rfind("standing by for the head") > log.rfind("leading session")

    def followed(self, host: Host) -> bool:
        """Whether the node follows that host's head, and no other, since."""
        last = [line for line in self.log(self.worker, "node").splitlines() if line.endswith("is back")][-1:]
        return bool(last) and f" {host.address}:" in last[0]

    def close(self) -> None:
        """End all of it."""
        self.network.close()
        self._server.wait(PATIENCE)
        shutil.rmtree(self._data)


def power_cut(cluster: StandbyCluster) -> None:
    """The leader's host is gone."""
    cluster.heads[0].kill()


def killed(cluster: StandbyCluster) -> None:
    """The leader's process is killed."""
    cluster.signal_head(cluster.heads[0], signal.SIGKILL)


def paused(cluster: StandbyCluster) -> None:
    """The leader's process stops for longer than its lease, and goes on when another leads."""
    cluster.signal_head(cluster.heads[0], signal.SIGSTOP)


def cut_off_from_state(cluster: StandbyCluster) -> None:
    """The leader reaches the nodes, and not the database."""
    cluster.heads[0].run(["ip", "route", "add", "blackhole", cluster.store.address])


def cut_off_from_nodes(cluster: StandbyCluster) -> None:
    """The leader reaches the database, and nobody else."""
    for host in (cluster.heads[1], cluster.worker):
        cluster.heads[0].run(["ip", "route", "add", "blackhole", host.address])


def successor_cut_off(cluster: StandbyCluster) -> None:
    """The leader is killed while the second reaches the database and nobody else, also for a while when it leads."""
    first, second = cluster.heads
    for host in (first, cluster.worker):
        second.run(["ip", "route", "add", "blackhole", host.address])
    killed(cluster)
    until(lambda: cluster.leads(second), "the second head leads")
    time.sleep(12.0)  # that long the cut lasts: longer than heads wait for nodes that they have heard
    second.run(["ip", "route", "flush", "type", "blackhole"])


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.05)


WAYS = {
    way.__name__.replace("_", "-"): way
    for way in (power_cut, killed, paused, cut_off_from_state, cut_off_from_nodes, successor_cut_off)
}


def take_over_under_load(state: str, way: str) -> tuple[Load, float, float]:
    """Run the program and have the leader fail that way.

    Where its host lives on, it stands by then, and takes over when the second is killed in its turn.

    Returns:
        What became of the program, when the leader failed, and after how many seconds the node followed the next.
    """
    cluster = StandbyCluster(state)
    try:
        first, second = cluster.heads
        running = RunningLoad(
            lambda *args, **options: cluster.worker.popen(*args, env=TOKEN, **options), cluster.worker.folder
        )
        try:
            time.sleep(2.0)  # the load before, not a condition
            failed = time.time()
            WAYS[way](cluster)
            until(lambda: cluster.followed(second), "the node follows the second head")
            seconds = time.time() - failed
            told = cluster.done(cluster.worker, "status")
            assert f"The cluster at {second.address}:" in told, told
            if way == "paused":
                cluster.signal_head(first, signal.SIGCONT)
            if way.startswith("cut-off"):
                first.run(["ip", "route", "flush", "type", "blackhole"])
            if way in {"killed", "successor-cut-off"}:
                cluster.start_head(first)
            time.sleep(2.0)
            if first.alive:
                until(lambda: cluster.stands_by(first), "the first head stands by")
                cluster.signal_head(second, signal.SIGKILL)
                until(lambda: cluster.followed(first), "the node follows the first head again")
                time.sleep(1.0)
            return running.finish(), failed, seconds
        except BaseException:
            running.process.kill()
            for host in cluster.heads:
                if host.alive:
                    sys.stderr.write(f"--- {host.name}\n{cluster.log(host)[-3000:]}\n")
            sys.stderr.write(f"--- node\n{cluster.log(cluster.worker, 'node')[-5000:]}\n")
            raise
    finally:
        cluster.close()


def main() -> None:
    """Parse the arguments, and tell the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--state", choices=list(SERVERS), default="redis")
    parser.add_argument("ways", nargs="*", default=list(WAYS))
    options = parser.parse_args()
    for way in options.ways:
        load, failed, seconds = take_over_under_load(options.state, way)
        sys.stdout.write(f"{way}: the next head was followed after {seconds:.1f} s\n{report(load, [failed])}\n")
        load.check()


if __name__ == "__main__":
    main()
