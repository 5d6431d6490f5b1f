"""A cluster of hosts that somebody disturbs: workers, nodes, hosts and the head are killed, links are cut."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..cluster.network import Host, Network, short_folder

COMMAND = [sys.executable, "-m", "limelight.cluster.command.main"]
TOKEN = "c5" * 32
WORKLOAD = Path(__file__).with_name("cluster_workload.py")
CPUS = "2"
STORE = "200MB"


class Report(msgspec.Struct):
    """What a run has shown."""

    seed: int
    seconds: float
    disturbances: dict[str, int] = {}
    counts: dict[str, int] = {}
    wrong: list[str] = []
    left: list[str] = []


class ChaosCluster:
    """The first host has the head, a node and the program, and keeps both of the latter; all else may be ended.

    Args:
        seed: decides what is done when; what else goes on at that moment, the operating system decides.
        nodes: how many further hosts there are.
    """

    def __init__(self, seed: int, nodes: int = 3) -> None:
        self._random = random.Random(seed)
        self.seed = seed
        self.network = Network()
        self.done: Counter[str] = Counter()
        self.first = self.network.add_host()
        self.others = [self.network.add_host() for _ in range(nodes)]
        self.env = {"LIMELIGHT_TOKEN": TOKEN}
        self.start_head()
        for host in self.others:
            self.join(host)

    def close(self) -> None:
        """End all hosts."""
        self.network.close()

    def cluster(self, host: Host, *arguments: str, check: bool = True) -> str:
        """Type a command of `cluster` on a host."""
        ended = host.run([*COMMAND, *arguments], env=self.env)
        if check and ended.returncode:
            raise AssertionError(f"cluster {' '.join(arguments)} on {host.name}:\n{ended.stdout}{ended.stderr}")
        return ended.stdout

    def start_head(self) -> None:
        """Start the head on the first host, with a node the first time."""
        options = ["--num-cpus", CPUS, "--object-store-memory", STORE]
        self.cluster(self.first, "start", "--head", "--host", self.first.address, *options)

    def join(self, host: Host) -> None:
        """Have a host's node join."""
        self.cluster(host, "join", self.first.address, "--num-cpus", CPUS, "--object-store-memory", STORE)

    def pids(self, host: Host, title: str) -> list[int]:
        """Processes of Limelight on a host by how their title goes on, as the host numbers them."""
        rows = [line.split(maxsplit=1) for line in host.run(["ps", "-eo", "pid=,args="]).stdout.splitlines()]
        return [int(row[0]) for row in rows if len(row) > 1 and row[1].startswith(f"limelight: {title}")]

    # --- what is done to it ---

    def disturb(self) -> str:
        """Do something to the cluster; returns what."""
        weights: dict[Callable[[], None], int] = {
            self.kill_worker: 6,
            self.kill_node: 2,
            self.cut_power: 1,
            self.kill_head: 2,
            self.cut_link_shortly: 2,
            self.cut_link_for_long: 1,
            self.pause_node: 1,
        }
        action = self._random.choices(list(weights), list(weights.values()))[0]
        action()
        self.done[action.__name__] += 1
        return action.__name__

    def kill_worker(self) -> None:
        """Kill a worker, the first host's among them."""
        host = self._random.choice([self.first, *self.others])
        workers = [pid for title in ("worker", "task", "actor") for pid in self.pids(host, title)]
        workers = workers or [pid for pid in self.pids(host, "") if pid not in self._system(host)]
        if workers:
            host.run(["kill", "-9", str(self._random.choice(workers))])

    def _system(self, host: Host) -> list[int]:
        return [pid for title in ("head", "node", "zygote", "interpreter") for pid in self.pids(host, title)]

    def _node(self, host: Host) -> list[str]:
        """The node's process. One that was given up executes itself anew, and has no title of its own for a moment."""
        deadline = time.monotonic() + 10
        while not (pids := self.pids(host, "node")):
            assert time.monotonic() < deadline, f"{host.name} has no node"
            time.sleep(0.05)
        return [str(pid) for pid in pids]

    def kill_node(self) -> None:
        """Kill a node process, and have it join again."""
        host = self._random.choice(self.others)
        host.run(["kill", "-9", *self._node(host)])
        time.sleep(self._random.uniform(0, 2))
        self.join(host)

    def cut_power(self) -> None:
        """End a host without a word, and have a new one join."""
        host = self._random.choice(self.others)
        self.others.remove(host)
        host.kill()
        time.sleep(self._random.uniform(0, 2))
        self.others.append(self.network.add_host())
        self.join(self.others[-1])

    def kill_head(self) -> None:
        """Kill the head, and start another."""
        for pid in self.pids(self.first, "head"):
            self.first.run(["kill", "-9", str(pid)])
        time.sleep(self._random.choice([0, 0.5, 3]))
        self.start_head()

    def cut_link_shortly(self) -> None:
        """Cut a host off for less than anybody minds."""
        host = self._random.choice(self.others)
        host.unplug()
        time.sleep(self._random.uniform(0.2, 3))
        host.plug()

    def cut_link_for_long(self) -> None:
        """Cut a host off until the cluster has given it up."""
        host = self._random.choice(self.others)
        host.unplug()
        time.sleep(self._random.uniform(8, 14))
        host.plug()

    def pause_node(self) -> None:
        """Stop a node process for a while."""
        host = self._random.choice(self.others)
        pids = self._node(host)
        host.run(["kill", "-STOP", *pids])
        time.sleep(self._random.uniform(0.5, 3))
        host.run(["kill", "-CONT", *pids])

    # --- afterwards ---

    def wait_until_whole(self, timeout: float = 60.0) -> None:
        """Wait until all nodes are there, and nothing is in use."""
        deadline = time.monotonic() + timeout
        while True:
            rows = json.loads(self.first.run([sys.executable, "-c", _LOOK], env=self.env).stdout or "{}")
            total, available = rows.get("total", {}), rows.get("available", {})
            used = {k: v - available.get(k, 0) for k, v in total.items() if abs(v - available.get(k, 0)) > 1e-6}
            whole = total.get("CPU") == float(CPUS) * (1 + len(self.others))
            if whole and not used and rows.get("groups") == 0:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"after {timeout:g} s the cluster is not as it was: {rows}, in use: {used}")
            time.sleep(0.5)

    def fill_stores(self) -> list[str]:
        """Put an object into each store that fits only beside little else; returns what had to make room for it."""
        filled = self.first.run([sys.executable, "-c", _FILL], env=self.env)
        left = [] if filled.returncode == 0 else [f"the stores are not empty: {filled.stderr[-2000:]}"]
        for host in [self.first, *self.others]:
            spilled = host.run(["sh", "-c", "find $TMPDIR/limelight-* -type f -path '*/spill/*'"]).stdout.split()
            left += [f"{host.name}: {path}" for path in spilled]
        return left

    def stop(self) -> list[str]:
        """Stop the cluster; returns what is left of it."""
        self.cluster(self.first, "stop")
        left: list[str] = []
        deadline = time.monotonic() + 20
        for host in [self.first, *self.others]:
            while (there := self._left_on(host)) and time.monotonic() < deadline:
                time.sleep(0.2)
            left += [f"{host.name}: {what}" for what in there]
        return left

    def _left_on(self, host: Host) -> list[str]:
        files = host.run(["sh", "-c", "ls -d $TMPDIR/limelight-*/* /dev/shm/* 2>/dev/null"]).stdout.split()
        return [*host.processes(), *files]


_LOOK = """
import json, limelight as ll
from limelight.util import placement_group_table
ll.init(address="auto", log_to_driver=False)
groups = [row for row in placement_group_table().values() if row["state"] != "REMOVED"]
print(json.dumps({"total": ll.cluster_resources(), "available": ll.available_resources(), "groups": len(groups)}))
"""

_FILL = """
import numpy as np, limelight as ll
from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy
ll.init(address="auto", log_to_driver=False)

@ll.task(num_cpus=0.5)
def fill(size):
    return int(ll.get(ll.put(np.ones(size, np.uint8))).sum())

size = 140_000_000
for node in ll.nodes():
    if node["Alive"]:
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        assert ll.get(fill.options(scheduling_strategy=place).remote(size), timeout=60) == size
"""


def run_chaos(seed: int, seconds: float, tell: Callable[[str], None]) -> Report:
    """Run the workload for so long while the cluster is disturbed, and look at what is left afterwards."""
    report = Report(seed, seconds)
    cluster = ChaosCluster(seed)
    journal = short_folder("j")  # as on a file server: all hosts see it, and it outlives each of them
    try:
        program = cluster.first.popen(
            [sys.executable, str(WORKLOAD), str(seconds), str(seed), str(journal)],
            env=cluster.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with program:
            _disturb_until_over(cluster, program, seconds, tell)
            output = program.communicate(timeout=600)[0]
        lines = output.splitlines()
        try:
            last = json.loads(lines[-1])
            report.counts, report.wrong = last["counts"], last["wrong"]
        except (IndexError, ValueError, KeyError):
            report.wrong = ["the program ended without a report:", *lines[-40:]]
        try:
            cluster.wait_until_whole()
        except AssertionError as error:
            report.left.append(str(error))
        report.left += [*cluster.fill_stores(), *cluster.stop()]
        report.disturbances = dict(cluster.done)
    finally:
        cluster.close()
        shutil.rmtree(journal)
    return report


def _disturb_until_over(
    cluster: ChaosCluster, program: "subprocess.Popen[str]", seconds: float, tell: Callable[[str], None]
) -> None:
    chance = random.Random(cluster.seed)
    end = time.monotonic() + seconds - 5
    time.sleep(2)
    while time.monotonic() < end and program.poll() is None:
        what = cluster.disturb()
        tell(f"{seconds - (end - time.monotonic()):6.0f} s  {what}")
        time.sleep(chance.uniform(0.5, 4))
