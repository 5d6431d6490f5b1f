"""`cluster up`, `exec` and `down`, for real: a head and nodes on this machine, and on hosts over SSH."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from tests.cluster.provider.sshd import HOSTS, Sshd, require_sshd

COMMAND = [sys.executable, "-m", "limelight.cluster.command.main"]
HERE = ("PYTHONPATH", "TMPDIR", "LIMELIGHT_TEST_RUN")
"""What a program needs to know of this test run, also where it comes by SSH."""

PROGRAM = """
import sys, time
import limelight as ll

ll.init(address="auto")
deadline = time.monotonic() + 30
while sum(node["Alive"] for node in ll.nodes()) < int(sys.argv[1]) and time.monotonic() < deadline:
    time.sleep(0.05)

@ll.task(num_cpus=1, scheduling_strategy="SPREAD")
def where():
    time.sleep(0.2)
    return ll.get_runtime_context().get_node_id()

found = set(ll.get([where.remote() for _ in range(12)]))
print(len(found), ll.cluster_resources()["CPU"], sorted(n["Labels"]["limelight/node-type"] for n in ll.nodes()))
ll.shutdown()
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Runs the command; the cluster's token, and what it keeps at home, are the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LIMELIGHT_TOKEN_FILE", str(tmp_path / "token"))

    def run(*arguments, code=0):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=50, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def free_port(host="127.0.0.1"):
    with socket.socket() as free:
        free.bind((host, 0))
        return free.getsockname()[1]


def environment():
    return ["env", *(f"{name}={os.environ[name]}" for name in HERE if name in os.environ)]


def written(folder, provider, port, workers):
    path = folder / "c.yaml"
    types = {"small": {"resources": {"CPU": 1}}, "cpu": {"resources": {"CPU": 2}, "min_workers": workers}}
    for one in types.values():
        one["resources"]["object_store_memory"] = 100e6
    about = {"cluster_name": "mine", "provider": provider, "head_node_type": "small", "head_port": port}
    path.write_text(json.dumps({**about, "program": [*environment(), *COMMAND], "node_types": types}))  # JSON is YAML
    (folder / "program.py").write_text(PROGRAM)
    return path


@pytest.mark.slow
def test_a_cluster_of_local_processes_comes_runs_a_program_and_goes(cluster, tmp_path):
    port = free_port()
    path = written(tmp_path, {"type": "local", "base": str(tmp_path / "instances")}, port, workers=2)
    try:
        assert f"the head runs at 127.0.0.1:{port}" in cluster("up", path)
        out = cluster("exec", path, *environment(), sys.executable, tmp_path / "program.py", 3)
        assert out == "3 5.0 ['cpu', 'cpu', 'small']\n"
        assert "making" not in cluster("up", path), "what is there is not made again"
        assert "exit" not in cluster("exec", path, "sh", "-c", "exit 7", code=7)
        told = cluster("exec", path, "echo 1; echo 2", code=1)
        assert told.startswith("cluster: 'echo 1; echo 2' cannot be run on this machine: No such file or directory.")
        assert "sh -c 'LINE'" in told
    finally:
        told = cluster("down", path)
    assert "ending 2 machines" in told
    assert "The cluster 'mine' is gone." in told
    assert cluster("down", path) == "The cluster 'mine' has no machines.\n"
    assert "has no running head: `cluster up` makes one" in cluster("exec", path, "true", code=1)


@pytest.mark.slow
def test_two_who_type_it_in_the_same_second_get_the_same_head(cluster, tmp_path):
    path = written(tmp_path, {"type": "local", "base": str(tmp_path / "instances")}, free_port(), workers=0)
    try:
        typed = [
            subprocess.Popen([*COMMAND, "up", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(2)
        ]
        told = [one.communicate(timeout=50)[0] for one in typed]
        assert [one.returncode for one in typed] == [0, 0], told
        assert len(list((tmp_path / "instances" / "mine").glob("small-*"))) == 1, told
        assert "The cluster at" in cluster("exec", path, *environment(), *COMMAND, "status")
    finally:
        cluster("down", path)


GROWING = """
import time
import limelight as ll
from limelight.autoscaler.sdk import request_resources

ll.init(address="auto")

@ll.task(resources={"licence": 1})
def where():
    time.sleep(1)
    return ll.get_runtime_context().get_node_id()

@ll.actor(num_cpus=2)
class Counter:
    def node(self):
        return ll.get_runtime_context().get_node_id()

counters = [Counter.remote(), Counter.remote()]
held = set(ll.get([counter.node.remote() for counter in counters]))
used = set(ll.get([where.remote() for _ in range(6)]))
print(len(held), len(used - held), flush=True)  # the actors leave no CPU of their nodes to tasks
del counters
request_resources(bundles=[{"CPU": 2}] * 3)
ll.shutdown()
"""


@pytest.mark.slow
def test_machines_are_added_for_what_waits_and_removed_when_nothing_does(cluster, tmp_path):
    path = written(tmp_path, {"type": "local", "base": str(tmp_path / "instances")}, free_port(), workers=0)
    about = json.loads(path.read_text())
    about["node_types"]["cpu"] |= {"max_workers": 3, "resources": {"CPU": 2, "licence": 2, "object_store_memory": 1e8}}
    path.write_text(json.dumps({**about, "idle_timeout_minutes": 0.05}))
    (tmp_path / "program.py").write_text(GROWING)
    try:
        cluster("up", path)
        assert cluster("exec", path, *environment(), sys.executable, tmp_path / "program.py") == "2 1\n"
        told = cluster("exec", path, *environment(), *COMMAND, "status")
        assert "cpu: 3 joined (min 0, max 3)" in told, told
        assert "tasks or actors wait for {CPU: 2}" in told
        # Idle by now, they stay, for a program has asked for them; until another asks for less.
        release = (
            'import limelight as ll; from limelight.autoscaler import sdk; ll.init("auto"); sdk.request_resources(0)'
        )
        cluster("exec", path, *environment(), sys.executable, "-c", release)
        deadline = time.monotonic() + 30
        while (left := list((tmp_path / "instances" / "mine").glob("cpu-*"))) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not left, cluster("exec", path, *environment(), *COMMAND, "status")
    finally:
        cluster("down", path)


def test_a_cluster_of_hosts_over_ssh_comes_runs_a_program_and_goes(cluster, tmp_path):
    require_sshd()
    sshd = Sshd(tmp_path / "sshd")
    try:
        port = free_port(HOSTS[0])
        options = {"UserKnownHostsFile": str(sshd.folder / "known_hosts"), "IdentitiesOnly": "yes"}
        provider = {"type": "ssh", "hosts": HOSTS, "user": "root", "port": sshd.port, "options": options}
        path = written(tmp_path, {**provider, "identity_file": str(sshd.folder / "user_key")}, port, workers=1)
        try:
            assert f"the head runs at {HOSTS[0]}:{port}" in cluster("up", path)
            out = cluster("exec", path, *environment(), sys.executable, tmp_path / "program.py", 2)
            assert out == "2 3.0 ['cpu', 'small']\n"
        finally:
            cluster("down", path)
    finally:
        sshd.close()


def test_a_faulty_file_is_refused_with_its_faults(cluster, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("cluster_name: mine\nprovidr: {type: local}\n")
    told = cluster("up", path, code=1)
    assert f"{path}:2:1: the file has no key 'providr'. Did you mean 'provider'?" in told


def test_a_head_that_does_not_start_is_told_with_the_end_of_its_log(cluster, tmp_path):
    path = written(tmp_path, {"type": "local", "base": str(tmp_path / "instances")}, 1, workers=0)
    path.write_text(
        path.read_text().replace('"program"', '"setup_commands": ["echo the wheels came off; false"], "program"')
    )
    try:
        assert "the wheels came off" in cluster("up", path, code=1)
    finally:
        cluster("down", path)
