"""A node that its head has lost, and the other nodes still reach: nobody relies on it, and nothing runs twice."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from .cluster_hosts import ClusterHosts, process_on, until
from .network import Host, Network, why_not

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.slow, pytest.mark.timeout(120)]

PROGRAM = """
import json, sys, time
from pathlib import Path
import limelight as ll
from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ll.init(address="auto", log_to_driver=False)
journal = Path(sys.argv[1])

@ll.actor(max_restarts=-1, num_cpus=0)
class Keeper:
    def add(self, number):
        with journal.open("a") as file:
            file.write(f"{number}\\n")
        return number
    def where(self):
        return ll.get_runtime_context().get_node_id()

@ll.task(max_retries=0, num_cpus=0)
def wait():
    time.sleep(1000)

far = next(row["NodeID"] for row in ll.nodes() if row["Labels"].get("side") == "far")
place = NodeAffinitySchedulingStrategy(far, soft=True)
keeper = Keeper.options(name="keeper", lifetime="detached", scheduling_strategy=place).remote()
assert ll.get(keeper.where.remote()) == far
waits = wait.options(scheduling_strategy=place).remote()
print("ready", flush=True)
sys.stdin.readline()
answered, number, after = [], 0, 0
while after < 10:
    number += 1
    try:
        answered.append(ll.get(keeper.add.remote(number), timeout=60))
        after += ll.get(keeper.where.remote(), timeout=60) != far
    except ll.exceptions.RayActorError:
        pass
try:
    ll.get(waits, timeout=60)
except ll.exceptions.NodeDiedError as error:
    print(json.dumps({"answered": answered, "lost": error.cause.node_id == far}), flush=True)
"""


@contextmanager
def cut_between(one: Host, other: Host) -> Iterator[None]:
    """Let nothing through between two hosts; all others reach both."""
    routes = [(one, other.address), (other, one.address)]
    for host, address in routes:
        subprocess.run(["ip", "-n", host.namespace, "route", "add", "blackhole", f"{address}/32"], check=True)
    try:
        yield
    finally:
        for host, address in routes:
            subprocess.run(["ip", "-n", host.namespace, "route", "del", "blackhole", f"{address}/32"], check=True)


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


def test_an_actor_of_a_node_that_the_head_has_lost_goes_on_elsewhere_and_no_call_runs_twice(network, tmp_path):
    cluster = ClusterHosts([network.add_host() for _ in range(3)])
    head, far, near = cluster.hosts
    cluster.start("--num-cpus", "2")
    cluster.join(far, "--num-cpus", "2", "--labels", "side=far", "--node-name", "far")
    cluster.join(near, "--num-cpus", "2", "--node-name", "near")
    journal = tmp_path / "journal"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with near.popen([sys.executable, "-c", PROGRAM, str(journal)], **pipes) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n", program.communicate()
        before = process_on(far, "limelight: node").children(recursive=True)
        with cut_between(head, far):
            assert "far" in cluster.alive()
            until(lambda: "far" not in cluster.alive(), "the head gives it up")
            out, err = program.communicate("\n", timeout=60)
        assert program.returncode == 0, err
    until(lambda: "far" in cluster.alive(), "it is back")
    ran = journal.read_text().split()
    assert len(ran) == len(set(ran)), "a call ran twice"
    told = json.loads(out)
    assert {str(number) for number in told["answered"]} <= set(ran)
    assert told["lost"]
    gone, _ = psutil.wait_procs(before, 10)
    assert [process for process in gone if process in before], "what ran there has ended"
