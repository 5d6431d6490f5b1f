"""Several machines that behave like one: they join, work, leave, are cut off, come back and lose power."""

import fnmatch
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .cluster_hosts import COMMAND, ClusterHosts, process_on, sessions, until
from .network import Network, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

ROOT = Path(__file__).resolve().parent.parent.parent
README_PROGRAM = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[0]

EVERYWHERE = """
import socket, time
import limelight as ray

ray.init(address="auto")

@ray.remote
def f(x):
    time.sleep(0.5)
    return x * x, socket.gethostname()

results = ray.get([f.remote(i) for i in range(12)])
print([square for square, _ in results])
print(sorted({host for _, host in results}))
"""

KEEPER = """
import sys, threading
import limelight as ll

ll.init(address="auto")

@ll.actor(label_selector={"side": "far"}, num_cpus=0)
class Keeper:
    def __init__(self): self.n = 0
    def add(self): self.n += 1; return self.n

keeper = Keeper.remote()
print(ll.get(keeper.add.remote()), flush=True)
sys.stdin.readline()
try:
    print(ll.get(keeper.add.remote(), timeout=60), flush=True)
except ll.exceptions.RayActorError as error:
    print("lost", flush=True)
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.fixture(scope="module")
def three(network) -> ClusterHosts:
    """Three hosts of two CPUs each; tests leave them so."""
    made = ClusterHosts([network.add_host() for _ in range(3)])
    made.start("--num-cpus", "2")
    far = ["--labels", "side=far", "--resources", '{"licence": 2}', "--node-name", "far", "--node-port", "7777"]
    made.join(made.hosts[1], "--num-cpus", "2", *far)
    made.join(made.hosts[2], "--num-cpus", "2", "--node-name", "third")
    return made


class TestThreeHosts:
    @pytest.mark.parametrize("number", [0, 1])
    def test_a_program_runs_on_all(self, three, number):
        squares, hosts = three.program(three.hosts[number], EVERYWHERE).splitlines()
        assert squares == str([x * x for x in range(12)])
        assert hosts == str(["host1", "host2", "host3"])

    def test_all_nodes_are_shown_wherever_one_asks(self, three):
        for host in three.hosts:
            assert set(three.alive(host)) == {three.head.address, "far", "third"}
        assert "side=far" in three.alive()["far"]

    def test_a_machine_that_is_no_node_is_told_what_to_type(self, network, three):
        stranger = network.add_host()
        result = stranger.run([sys.executable, "-c", f"import limelight; limelight.init({three.address!r})"])
        assert f"`cluster join {three.address}` first" in result.stderr
        assert three.cluster(stranger, "status", "--address", three.address).startswith("The cluster at")
        command = [*COMMAND, "join", three.address, "--host", "127.0.0.1"]
        result = stranger.run(command, env={"LIMELIGHT_TOKEN": three.token})
        assert (result.returncode, result.stdout) == (1, "")
        assert "could not reach this node there, for only this machine can. Leave --host out" in result.stderr
        stranger.kill()

    def test_a_node_that_leaves_says_so_and_can_join_again(self, three):
        third = three.hosts[2]
        said = three.cluster(third, "stop")
        assert said.startswith("Stopped the node (pid")
        assert "other machines" not in said
        assert three.gone()["third"] == "it was stopped"
        assert third.processes() == []
        assert sessions(third) == []
        three.join(third, "--num-cpus", "2", "--node-name", "third")
        assert "third" in three.alive()

    def test_a_cut_shorter_than_the_grace_is_not_noticed(self, three):
        far = three.hosts[1]
        before = three.alive()["far"]
        with far_keeper(three) as program:
            assert program.stdout.readline() == "1\n"
            far.unplug()
            time.sleep(2)  # what is tested is a cut of that length
            far.plug()
            assert finish(program) == "2\n"
        assert three.alive()["far"] == before

    @pytest.mark.slow
    def test_a_node_that_was_given_up_comes_back_empty_with_all_that_it_offers(self, three):
        far = three.hosts[1]
        before, process, folders = three.alive()["far"], process_on(far, "limelight: node"), sessions(far)
        with far_keeper(three) as program:
            assert program.stdout.readline() == "1\n"
            workers = [child for child in process.children(recursive=True) if "Keeper" in child.cmdline()[0]]
            assert len(workers) == 1
            far.unplug()
            until(lambda: "far" not in three.alive(), "the head gives it up")
            assert finish(program) == "lost\n"
            assert workers[0].is_running(), "nobody could tell it"
            far.plug()
            until(lambda: "far" in three.alive(), "it is back")
        psutil.wait_procs(workers, 10)
        assert not workers[0].is_running(), "what ran there has ended"
        after = three.alive()["far"]
        assert after[0] != before[0], "it is another node"
        assert after[1:] == before[1:]
        assert process_on(far, "limelight: node").pid == process.pid
        assert f"{far.address}:7777" in far.run(["ss", "--listening", "--tcp", "--numeric"]).stdout
        assert len(sessions(far)) == 1
        assert sessions(far) != folders
        assert three.program(far, EVERYWHERE).splitlines()[1] == str(["host1", "host2", "host3"])

    def test_the_node_that_came_back_can_be_stopped(self, three):
        far = three.hosts[1]
        three.cluster(far, "stop")
        assert far.processes() == []
        assert sessions(far) == []
        assert three.gone()["far"] == "it was stopped"


def far_keeper(three):
    """A program whose actor is on the far host, and which goes on when it is told to."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return three.head.popen([sys.executable, "-c", KEEPER], **pipes)


def finish(program) -> str:
    """Have the program go on; its last line."""
    out, _ = program.communicate("go on\n", timeout=60)
    assert program.returncode == 0
    return out


def test_the_lines_of_the_readme_make_a_cluster():
    start, join = re.findall(r"^```sh\n(.*?)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    network = Network()
    try:
        head, other = network.add_host(), network.add_host()
        said = typed(head, start)
        assert fnmatch.filter((line.strip() for line in said.splitlines()), join.replace("...", "*")), said
        [printed] = [line for line in said.splitlines() if "cluster join" in line]
        assert "is a node of the cluster at" in typed(other, printed)
        assert "2 nodes." in typed(other, "cluster status")
        program = README_PROGRAM.replace("ray.init()", 'ray.init(address="auto")')
        assert program != README_PROGRAM
        assert str([x * x for x in range(12)]) in other.run([sys.executable, "-c", program]).stdout
        typed(head, "cluster stop")
        until(lambda: not other.processes(), "all of the cluster has ended")
    finally:
        network.close()


def typed(host, line: str) -> str:
    """What a line that somebody types on a host prints."""
    path = f'cluster() {{ {" ".join(COMMAND)} "$@"; }}\n'
    result = host.run(["bash", "-c", path + line])
    assert result.returncode == 0, result.stderr + log(host)
    return result.stdout


@pytest.mark.slow
class TestTheHeadIsAway:
    def test_a_node_given_up_by_a_head_that_died_waits_for_the_next(self, network):
        both = ClusterHosts([network.add_host() for _ in range(2)])
        both.start("--num-cpus", "1")
        far = both.hosts[1]
        both.join(far, "--node-name", "far")
        head, [folder] = process_on(both.head, "limelight: head"), sessions(far)
        far.unplug()
        until(lambda: "far" not in both.alive(), "the head gives it up")
        far.plug()
        until(lambda: folder not in sessions(far), "it begins anew", pause=0.001)
        head.kill()
        until(lambda: sessions(far), "it lives", pause=0.01)
        until(lambda: "cannot be joined yet" in log(far), "it looks for a head")
        both.start("--num-cpus", "1")
        until(lambda: "far" in both.alive(), "it has found the new one")

        both.cluster(both.head, "stop")
        until(lambda: not far.processes(), "a cluster that is stopped ends everywhere")
        assert sessions(far) == []

    def test_it_can_be_stopped_while_it_waits(self, network):
        both = ClusterHosts([network.add_host() for _ in range(2)])
        both.start("--num-cpus", "1")
        far = both.hosts[1]
        both.join(far, "--node-name", "far")
        process_on(both.head, "limelight: head").kill()
        until(
            lambda: "has not answered for" in far.run([*COMMAND, "status"]).stderr, "it is told that the head is away"
        )
        assert both.cluster(far, "stop").startswith("Stopped the node")
        assert far.processes() == []
        both.cluster(both.head, "stop")

    def test_a_power_cut_is_shown(self, network):
        both = ClusterHosts([network.add_host() for _ in range(2)])
        both.start("--num-cpus", "1")
        both.join(both.hosts[1], "--node-name", "far")
        both.hosts[1].kill()
        until(lambda: "far" in both.gone(), "it is shown as gone")
        assert set(both.alive()) == {both.head.address}
        both.cluster(both.head, "stop")
        assert both.head.processes() == []


def log(host) -> str:
    """What a host's head and node have written."""
    logs = host.folder.glob("limelight-*/*/logs/*.log")
    return "".join(path.read_text() for path in logs if path.stem in {"head", "node"})
