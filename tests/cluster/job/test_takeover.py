"""Jobs when a standby head takes over: they go on, can be asked about and ended, and new nodes get their files."""

import contextlib
import json
import re
import subprocess
import sys

import pytest

from tests.chaos.standby_takeover import TOKEN, StandbyCluster, until
from tests.cluster.cluster_program import eventually
from tests.cluster.network import why_not

from .running_cluster import COMMAND

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

PROGRAM = """
import pathlib, socket, sys, time
import limelight as ll
ll.init()

@ll.actor(resources={"later": 0.1})
class Reader:
    def read(self):
        return socket.gethostname() + ": " + pathlib.Path("text").read_text()

print("begun", flush=True)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
print(ll.get(Reader.remote().read.remote()), flush=True)
"""


@contextlib.contextmanager
def ended(process: subprocess.Popen):
    """It does not outlive a failure, which would otherwise wait for it."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


def info(cluster, name: str) -> dict:
    return json.loads(cluster.done(cluster.worker, "job", "status", "--json", name))


@pytest.mark.parametrize("state", ["redis"])
def test_jobs_and_their_files_outlive_the_first_heads_host(state, tmp_path):
    cluster = StandbyCluster(state, "--dashboard-host", "0.0.0.0")
    try:
        first, second = cluster.heads
        door = cluster.worker.folder / "door"
        for name in ("goes-on", "waits"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "text").write_text(f"shipped with {name}")
        (tmp_path / "goes-on" / "program.py").write_text(PROGRAM)

        def submit(name: str, *words: str) -> None:
            typed = ["job", "submit", "--no-wait", "--submission-id", name, *words]
            assert f"Job {name} is submitted" in cluster.done(cluster.worker, *typed)

        submit("goes-on", "--working-dir", str(tmp_path / "goes-on"), "--", "python", "program.py", str(door))
        # Nobody but the heads has what this one needs.
        wanted = ["--working-dir", str(tmp_path / "waits"), "--entrypoint-resources", '{"later": 0.1}']
        submit("waits", *wanted, "--", "cat", "text")
        submit("endless", "--", "sleep 1000")
        eventually(lambda: info(cluster, "goes-on")["status"] == info(cluster, "endless")["status"] == "RUNNING")

        follow = [*COMMAND, "job", "logs", "--follow", "goes-on"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with cluster.worker.popen(follow, env=TOKEN, **pipes) as following, ended(following):
            assert following.stdout.readline() == "begun\n"
            first.kill()
            until(lambda: cluster.followed(second), "the node follows the second head")
            assert re.findall(r"^(\S+) +(\S+)", cluster.done(cluster.worker, "job", "list"), re.MULTILINE)[1:] == [
                ("endless", "RUNNING"),
                ("waits", "PENDING"),
                ("goes-on", "RUNNING"),
            ]
            assert "endless was stopped" in cluster.done(cluster.worker, "job", "stop", "endless")

            fresh = cluster.network.add_host()
            cluster.done(fresh, "join", second.address, "--num-cpus", "1", "--resources", '{"later": 1}')
            door.touch()
            shown, told = following.communicate(timeout=50)
        assert shown == f"{fresh.name}: shipped with goes-on\n", told
        eventually(lambda: info(cluster, "waits")["status"] == "SUCCEEDED")
        assert cluster.done(cluster.worker, "job", "logs", "waits") == "shipped with waits"
        typed = ["--address", f"http://{second.address}:8265", "--working-dir", str(tmp_path / "waits"), "cat text"]
        assert cluster.done(fresh, "job", "submit", *typed) == "shipped with waits"
    except BaseException:
        cluster.worker.kill()
        for host in cluster.heads:
            if host.alive:
                sys.stderr.write(f"--- {host.name}\n{cluster.log(host)[-4000:]}\n")
        raise
    finally:
        cluster.close()
