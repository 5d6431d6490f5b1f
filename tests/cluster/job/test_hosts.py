"""Jobs on several hosts: where they run, and what becomes of them when their host does not."""

import json
import re
import subprocess

import pytest

from tests.cluster.cluster_program import eventually
from tests.cluster.network import Network, why_not

from .running_cluster import COMMAND

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

PROGRAM = """
import socket, sys
import beside
import limelight as ll
ll.init()

@ll.task(scheduling_strategy="SPREAD")
def where():
    import time
    time.sleep(0.5)
    return socket.gethostname(), beside.TEXT

print(socket.gethostname(), beside.TEXT)
print(*sorted(set(ll.get([where.remote() for _ in range(4)]))))
"""


class Site:
    """A head's host, and others that are nodes of its cluster."""

    def __init__(self, dashboard: str = "0.0.0.0") -> None:
        self.network = Network()
        self.head = self.network.add_host()
        started = self.run(
            self.head, "start", "--head", "--host", self.head.address, "--num-cpus", "2", "--dashboard-host", dashboard
        )
        self.token = re.search(r"LIMELIGHT_TOKEN=(\w+)", started)[1]
        self.url = re.search(r"dashboard is at (\S+)\.\n", started)[1]

    def join(self, zone: str):
        """A new host that is a node."""
        host = self.network.add_host()
        self.run(host, "join", self.head.address, "--num-cpus", "2", "--labels", f"zone={zone}")
        return host

    def run(self, host, *arguments: str, code: int = 0) -> str:
        """Run the command `cluster` on a host; returns what it says."""
        env = {"LIMELIGHT_TOKEN": self.token} if host is not self.head else None
        done = host.run([*COMMAND, *arguments], env=env)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def info(self, job: str) -> dict:
        return json.loads(self.run(self.head, "job", "status", "--json", job))


@pytest.fixture(scope="module")
def site():
    made = Site()
    yield made
    made.network.close()


@pytest.fixture(scope="module")
def far(site):
    return site.join("far")


def submit(site, host, job: str, zone: str, *command: str, env=()) -> str:
    """Submit a job to the nodes of a zone, from a host that asks the dashboard; it need not wait for it."""
    typed = ["--address", site.url, "--submission-id", job, "--entrypoint-label-selector", f'{{"zone": "{zone}"}}']
    return site.run(host, "job", "submit", *typed, *env, "--", *command)


def test_a_job_runs_on_the_host_it_asks_for_with_its_files(site, far):
    work = site.head.folder / "work"  # which no other host can see
    work.mkdir()
    (work / "program.py").write_text(PROGRAM)
    (work / "beside.py").write_text("TEXT = 'shipped'")
    assert site.url == f"http://{site.head.address}:8265"
    shown = submit(site, site.head, "shipped", "far", "python", "program.py", env=["--working-dir", str(work)])
    assert shown.startswith(f"{far.name} shipped\n('host1', 'shipped') ('{far.name}', 'shipped')\n"), shown
    node = site.info("shipped")["driver_node_id"]
    assert site.info("shipped")["driver_info"]["node_ip_address"] == far.address
    assert site.run(site.head, "job", "logs", "shipped") in shown
    assert node[:12] in site.run(site.head, "status")


def test_a_job_without_wishes_runs_beside_the_head(site, far):
    assert site.run(far, "job", "submit", "--address", site.url, "hostname").startswith("host1\n")


def test_where_the_dashboard_is_for_the_heads_machine_only_a_node_says_so():
    site = Site(dashboard="127.0.0.1")
    try:
        assert site.run(site.head, "job", "list")
        told = site.run(site.join("far"), "job", "list", code=1)
    finally:
        site.network.close()
    at = f"{site.head.address}:6379"
    assert f"The dashboard of the cluster at {at}, which takes jobs, listens for the head's own machine only" in told
    assert "--dashboard-host" in told


@pytest.mark.slow
def test_a_job_fails_with_its_host_and_says_so(site):
    doomed = site.join("doomed")
    typed = [*COMMAND, "job", "submit", "--submission-id", "lost", "--entrypoint-label-selector", '{"zone": "doomed"}']
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with site.head.popen([*typed, "--", "echo up; sleep 1000"], **pipes) as watching:
        assert watching.stdout.readline() == "up\n"
        assert doomed.processes()
        doomed.kill()
        _, told = watching.communicate(timeout=50)
    assert watching.returncode == 1
    assert "Job lost failed" in told
    assert "was lost, and the entrypoint with it" in told
    assert site.info("lost")["error_type"] == "JOB_SUPERVISOR_ACTOR_DIED"
    assert "which is gone" in site.run(site.head, "job", "logs", "lost", code=1)


def test_a_host_that_leaves_ends_its_jobs(site):
    leaving = site.join("leaving")
    typed = ["--no-wait", "--submission-id", "left", "--entrypoint-label-selector", '{"zone": "leaving"}']
    site.run(site.head, "job", "submit", *typed, "--", "echo up; sleep 1000")
    eventually(lambda: "up" in site.run(site.head, "job", "logs", "left"))
    site.run(leaving, "stop")
    eventually(lambda: site.info("left")["status"] == "FAILED")
    assert leaving.processes() == []
