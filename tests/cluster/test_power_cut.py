"""A host without power says nothing, and refuses nothing: what its programs' partners elsewhere are told, and when."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .cluster_hosts import ClusterHosts
from .network import Network, why_not

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.slow, pytest.mark.timeout(120)]

PROGRAM = """
import json, sys, time
from pathlib import Path
import numpy as np
import limelight as ll
from limelight.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ll.init(address="auto", log_to_driver=False)
folder = Path(sys.argv[1])

@ll.actor(num_cpus=0)
class Keeper:
    def put(self):
        return [ll.put(np.ones(300_000, np.uint8))]
    def where(self):
        return ll.get_runtime_context().get_node_id()

@ll.task(num_cpus=0)
def where(name):
    here = ll.get_runtime_context().get_node_id()
    if here == far:
        (folder / name).touch()
        time.sleep(1000)
    return here

@ll.task(num_cpus=0)
def make(seed):
    return np.full(300_000, seed)

@ll.task(num_cpus=0)
def double(array):
    return array * 2

def outcome(ref):
    try:
        value = ll.get(ref, timeout=40)
        return "elsewhere" if isinstance(value, str) and value != far else int(value[0])
    except ll.exceptions.RayError as error:
        return type(error).__name__

far = next(row["NodeID"] for row in ll.nodes() if row["Labels"].get("side") == "far")
there = {"scheduling_strategy": NodeAffinitySchedulingStrategy(far, soft=True)}
owner = Keeper.options(**there).remote()
(owned,) = ll.get(owner.put.remote())
restarts = Keeper.options(max_restarts=1, max_task_retries=1, **there).remote()
detached = Keeper.options(name="detached", lifetime="detached", max_restarts=-1, max_task_retries=-1, **there).remote()
assert ll.get([restarts.where.remote(), detached.where.remote()]) == [far, far]
made = double.options(**there).remote(make.options(**there).remote(21))
ll.wait([made], fetch_local=False)
again = where.options(max_retries=1, **there).remote("again")
once = where.options(max_retries=0, **there).remote("once")
while len(list(folder.iterdir())) < 2:
    time.sleep(0.01)
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps({
    "a task that may run again": outcome(again),
    "a task that may not": outcome(once),
    "an actor that may not restart": outcome(owner.where.remote()),
    "an actor that may": outcome(restarts.where.remote()),
    "a detached actor": outcome(ll.get_actor("detached").where.remote()),
    "a result and what it came from": outcome(made),
    "an object whose owner was there": outcome(owned),
}))
"""


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


def test_what_was_on_a_host_that_loses_power_goes_on_elsewhere_or_fails_with_the_reason(network, tmp_path):
    cluster = ClusterHosts([network.add_host() for _ in range(3)])
    _, far, near = cluster.hosts
    cluster.start("--num-cpus", "2")
    cluster.join(far, "--num-cpus", "2", "--labels", "side=far")
    cluster.join(near, "--num-cpus", "2")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with near.popen([sys.executable, "-c", PROGRAM, str(tmp_path)], **pipes) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n", program.communicate()
        far.kill()
        out, err = program.communicate("\n", timeout=100)
    assert program.returncode == 0, err
    assert json.loads(out) == {
        "a task that may run again": "elsewhere",
        "a task that may not": "NodeDiedError",
        "an actor that may not restart": "ActorDiedError",
        "an actor that may": "elsewhere",
        "a detached actor": "elsewhere",
        "a result and what it came from": 42,
        "an object whose owner was there": "OwnerDiedError",
    }
