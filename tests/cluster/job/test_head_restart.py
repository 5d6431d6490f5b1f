"""Jobs go on while there is no head, and the head that comes after it goes on with them."""

import os
import signal
import subprocess

import psutil
import pytest

from limelight.cluster.session_info import read_info
from limelight.cluster.session_remains import live_sessions
from limelight.job_submission import JobStatus, JobSubmissionClient
from tests.cluster.cluster_program import eventually

from .running_cluster import RunningCluster, free_port


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = RunningCluster(tmp_path_factory.mktemp("home"), "--dashboard-port", str(free_port()))
    yield made
    made.stop()


def kill_head(cluster) -> None:
    infos = [read_info(path) for path in live_sessions()]
    [head] = [info.pid for info in infos if info.kind == "head" and info.address == cluster.address]
    os.kill(head, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(head)] if psutil.pid_exists(head) else [])


def test_a_head_that_was_killed_finds_its_jobs_as_they_are_by_then(cluster, tmp_path):
    client = JobSubmissionClient(cluster.url, token=cluster.token)
    (tmp_path / "there").write_text("shipped\n")
    env = {"working_dir": str(tmp_path)}
    over = client.submit_job(entrypoint="echo over")
    runs = client.submit_job(entrypoint="cat there; sleep 1000", runtime_env=env)
    waits = client.submit_job(entrypoint="cat there", runtime_env=env, entrypoint_resources={"later": 1})
    door = tmp_path / "door"
    program = f"echo first; while [ ! -e {door} ]; do sleep 0.05; done; echo last; exit 3"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with cluster.popen(["job", "submit", "--submission-id", "ends", "--", program], **pipes) as watching:
        assert watching.stdout.readline() == "first\n"
        eventually(lambda: client.get_job_logs(runs))
        eventually(lambda: client.get_job_status(over).is_terminal())
        before = client.get_job_info(runs)
        kill_head(cluster)
        door.touch()  # it ends while nobody listens
        with pytest.raises(ConnectionError):
            client.get_job_info(runs)
        cluster.start()
        shown, told = watching.communicate(timeout=50)
    assert (shown, watching.returncode) == ("last\n", 3), told
    assert told.count("The head is away; the job goes on") == 1
    assert client.get_job_info(runs) == before
    assert client.get_job_status(over) is JobStatus.SUCCEEDED
    assert client.get_job_logs(over) == "over\n"
    assert client.get_job_status(waits) is JobStatus.PENDING
    assert (client.get_job_status("ends"), client.get_job_info("ends").driver_exit_code) == (JobStatus.FAILED, 3)
    assert client.stop_job(runs)
    eventually(lambda: client.get_job_status(runs) is JobStatus.STOPPED)
    # What was uploaded to the head before is there for those who need it now.
    joined = cluster.run(
        "join", cluster.address, "--num-cpus", "1", "--resources", '{"later": 1}', "--node-name", "more"
    )
    assert joined.returncode == 0, joined.stderr
    eventually(lambda: client.get_job_status(waits) is JobStatus.SUCCEEDED)
    assert client.get_job_logs(waits) == "shipped\n"
    with pytest.raises(RuntimeError, match="already exists"):
        client.submit_job(entrypoint="ls", submission_id="ends")


def test_a_client_of_the_cluster_finds_a_dashboard_that_is_elsewhere_now(cluster):
    """As after another head has taken over. One that was given the dashboard's own address cannot."""
    client = JobSubmissionClient(cluster.address, token=cluster.token)
    other = JobSubmissionClient(cluster.url, token=cluster.token)
    job = client.submit_job(entrypoint="echo up; sleep 1000")
    eventually(lambda: client.get_job_logs(job) == "up\n")
    before = client.get_address()
    kill_head(cluster)
    cluster.start("--dashboard-port", str(free_port()))
    assert client.submit_job(entrypoint="true")
    assert client.get_address() == cluster.url != before
    with pytest.raises(ConnectionError, match="finds the one that leads"):
        other.get_job_status(job)
    kill_head(cluster)
    cluster.start()
    assert client.stop_job(job)
    assert client.get_address() == cluster.url == before
    eventually(lambda: client.get_job_status(job) is JobStatus.STOPPED)
    assert client.get_job_logs(job) == "up\n"
