"""How fast a cluster of several machines comes, grows and notices what it has lost.

    python -m tests.benchmarks.cluster [--runs 5]

The machines are hosts made of namespaces (tests/cluster/network.py), so this needs Linux and root. Each run starts a
cluster with the `cluster` command, has another host join it while a task waits for what only that host offers, and cuts
that host's power. Printed are medians, with the least and the most.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass

from tests.cluster.cluster_hosts import ClusterHosts
from tests.cluster.network import Host, Network, why_not

from .machine import description


@dataclass(frozen=True)
class Row:
    """A measurement: what it is called, and what it must not exceed, in seconds."""

    title: str
    most: float | None = None


ROWS = {
    "start": Row("cluster start, until it returns"),
    "join": Row("cluster join, until it returns"),
    "work": Row("cluster join, until a task that waits for it runs", 1.0),
    "lost": Row("power cut, until the node is dead for all", 6.0),
    "stop": Row("cluster stop, until it returns"),
}

PROGRAM = """
import sys, time
import limelight as ll

ll.init(address="auto", log_to_driver=False)

@ll.task(num_cpus=0, resources={"late": 1})
def ran():
    return time.time()

ll.get(ll.task(lambda: None).remote())
late = ran.remote()
print("waits", flush=True)
print(ll.get(late), flush=True)
while all(node["Alive"] for node in ll.nodes()):
    time.sleep(0.01)
print(time.time(), flush=True)
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cluster", description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="how often everything is measured (5)")
    options = parser.parse_args(arguments)
    if reason := why_not():
        parser.error(reason)
    print(", ".join(f"{key}: {value}" for key, value in description().items()), flush=True)
    figures: dict[str, list[float]] = defaultdict(list)
    network = Network()
    try:
        head = network.add_host()
        for _ in range(options.runs):
            for name, seconds in run(head, network.add_host()).items():
                figures[name].append(seconds)
    finally:
        network.close()
    for name, row in ROWS.items():
        print(line(row, figures[name]), flush=True)


def run(head: Host, late: Host) -> dict[str, float]:
    """One cluster's life; seconds by row."""
    cluster = ClusterHosts([head, late])
    figures: dict[str, float] = {}

    begun = time.time()
    cluster.start()
    figures["start"] = time.time() - begun

    pipes = {"stdout": subprocess.PIPE, "text": True}
    with head.popen([sys.executable, "-c", PROGRAM], **pipes) as program:
        try:
            figures |= grow_and_lose(cluster, late, program)
        except BaseException:
            program.kill()
            raise

    begun = time.time()
    cluster.cluster(head, "stop")
    figures["stop"] = time.time() - begun
    return figures


def grow_and_lose(cluster: ClusterHosts, late: Host, program: subprocess.Popen[str]) -> dict[str, float]:
    """Have a host join, for which the program waits, and cut its power."""
    figures: dict[str, float] = {}
    assert program.stdout is not None
    assert program.stdout.readline() == "waits\n", "the program has failed"
    begun = time.time()
    cluster.join(late, "--resources", '{"late": 1}')
    figures["join"] = time.time() - begun
    figures["work"] = float(program.stdout.readline()) - begun
    begun = time.time()
    late.kill()
    figures["lost"] = float(program.stdout.readline()) - begun
    return figures


def line(row: Row, seconds: list[float]) -> str:
    """One measurement, for people."""
    median = statistics.median(seconds)
    goal = "" if row.most is None else f"  goal {row.most:g} s, {'pass' if median < row.most else 'short'}"
    return f"{row.title:50} {median:6.2f} s  ({min(seconds):.2f} to {max(seconds):.2f}){goal}"


if __name__ == "__main__":
    main()
