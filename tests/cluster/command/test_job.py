"""`cluster job`, typed on the head's machine and elsewhere."""

import json
import signal
import subprocess
import time

import pytest

from limelight.cluster.command.job_page import describe, job_table
from limelight.job_submission import JobDetails, JobStatus, JobSubmissionClient, JobType
from tests.cluster.cluster_program import eventually
from tests.cluster.job.running_cluster import RunningCluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = RunningCluster(tmp_path_factory.mktemp("home"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def client(cluster):
    return JobSubmissionClient(cluster.url, token=cluster.token)


def test_submit_shows_the_output_and_exits_as_the_job_does(cluster, tmp_path):
    (tmp_path / "program.py").write_text("import sys; print(*sys.argv[1:]); sys.exit(4)")
    typed = ["--submission-id", "j1", "--working-dir", str(tmp_path), "--", "python", "program.py", "--flag", "a  b"]
    done = cluster.run("job", "submit", *typed)
    assert (done.returncode, done.stdout) == (4, "--flag a  b\n")
    assert "Job j1 failed" in done.stderr
    assert "exit code 4" in done.stderr
    assert cluster.run("job", "logs", "j1").stdout == "--flag a  b\n"
    done = cluster.run("job", "submit", "echo one && echo two | tr w W")
    assert (done.returncode, done.stdout) == (0, "one\ntWo\n")


def test_submit_need_not_wait_and_stop_ends_the_job(cluster, client):
    typed = ["--no-wait", "--submission-id", "j2", "--entrypoint-num-cpus", "1", "--metadata-json", '{"owner": "me"}']
    assert cluster.run("job", "submit", *typed, "--", "sleep", "1000").stdout.startswith("Job j2 is submitted.\n")
    eventually(lambda: client.get_job_status("j2") == "RUNNING")
    assert "Job j2 was stopped" in cluster.run("job", "stop", "j2").stdout
    [listed] = [job for job in json.loads(cluster.run("job", "list", "--json").stdout) if job["submission_id"] == "j2"]
    assert (listed["status"], listed["metadata"]) == ("STOPPED", {"owner": "me"})
    assert json.loads(cluster.run("job", "status", "--json", "j2").stdout) == listed
    assert cluster.run("job", "delete", "j2").returncode == 0
    gone = cluster.run("job", "status", "j2")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "Job j2 does not exist" in gone.stderr


def test_a_job_that_finds_no_room_says_so_where_it_was_submitted(cluster, client):
    typed = ["job", "submit", "--submission-id", "wide", "--entrypoint-num-cpus", "64", "--", "true"]
    with cluster.popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
        try:
            told = [follower.stderr.readline() for _ in range(2)]
        finally:
            client.stop_job("wide")
        assert told[0].startswith("Job wide is submitted")
        assert told[1].startswith("Job wide waits: {CPU: 64} is asked for; the most that any node has")
        out, error = follower.communicate(timeout=30)
        assert (follower.returncode, out) == (1, "")
        assert error.startswith("Job wide was stopped")


def test_who_reads_no_further_ends_the_following_and_not_the_job(cluster, client):
    job = client.submit_job(entrypoint="while :; do echo on; sleep 0.1; done")
    try:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with cluster.popen(["job", "logs", "--follow", job], **pipes) as follower:
            assert follower.stdout.readline() == "on\n"
            follower.stdout.close()
            assert (follower.wait(20), follower.stderr.read()) == (141, "")
        assert client.get_job_status(job) == "RUNNING"
    finally:
        client.stop_job(job)


def test_what_the_terminal_has_no_letters_for_is_shown_as_far_as_it_goes(cluster, monkeypatch):
    typed = ["job", "submit", "--submission-id", "letters", r"printf 'caf\303\251 \377\n'"]
    monkeypatch.setitem(cluster.environment, "PYTHONIOENCODING", "ascii")
    assert cluster.run(*typed).stdout == "caf? ?\n"
    monkeypatch.setitem(cluster.environment, "PYTHONIOENCODING", "utf-8")
    assert cluster.run("job", "logs", "letters").stdout == "caf\u00e9 \ufffd\n"


@pytest.mark.parametrize("verb", [["status"], ["logs"], ["logs", "--follow"], ["stop"], ["delete"]])
def test_a_job_that_is_none_is_told_once_and_in_words(cluster, verb):
    done = cluster.run("job", *verb, "nobody")
    told = "cluster: Job nobody does not exist; `cluster job list` shows all.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_leaving_a_job_does_not_end_it(cluster, client):
    program = "import time\nprint('up')\nwhile True: time.sleep(0.1)"
    typed = ["job", "submit", "--submission-id", "j3", "--", "python", "-c", program]
    # Who runs the tests in the background may have had SIGINT ignored, and its children with it.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with cluster.popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **heeding) as watching:
        assert watching.stdout.readline() == "up\n"
        watching.send_signal(signal.SIGINT)
        _, told = watching.communicate(timeout=30)
    assert watching.returncode == 130, told
    assert client.get_job_status("j3") == "RUNNING"
    client.stop_job("j3")


def test_the_environment_may_stand_in_a_file(cluster, tmp_path):
    (tmp_path / "env.json").write_text('{"env_vars": {"COLOUR": "red"}}')
    done = cluster.run("job", "submit", "--runtime-env", str(tmp_path / "env.json"), "--", "printenv", "COLOUR")
    assert done.stdout == "red\n", done.stderr
    done = cluster.run("job", "submit", "--runtime-env", str(tmp_path / "none.json"), "ls")
    assert "cannot be read" in done.stderr


def test_other_addresses(cluster):
    for address in (cluster.address, cluster.url):
        assert cluster.run("job", "list", "--address", address).returncode == 0
    away = cluster.run("job", "list", "--address", "http://127.0.0.1:9")
    assert (away.returncode, "Does the head run" in away.stderr) == (1, True)


@pytest.mark.parametrize(
    "typed",
    [
        ["submit"],
        ["submit", "--metadata-json", "{", "ls"],
        ["submit", "--metadata-json", '{"a": 1}', "ls"],
        ["submit", "--entrypoint-num-cpus", "many", "ls"],
        ["status"],
        [],
    ],
)
def test_what_is_typed_wrong(cluster, typed):
    assert cluster.run("job", *typed).returncode == 2


def details(**more) -> JobDetails:
    given = {"type": JobType.SUBMISSION, "status": JobStatus.RUNNING, "entrypoint": "python train.py"}
    return JobDetails(**{**given, "submission_id": "train", "start_time": int(time.time() * 1000), **more})


def test_a_table_fits_the_terminal():
    page = job_table([details(), details(submission_id="long", entrypoint="echo\n" + "x" * 500)], width=60)
    assert all(len(line) <= 60 for line in page.splitlines())
    assert [line.split()[0] for line in page.splitlines()] == ["JOB", "train", "long"]
    assert job_table([]) == "There are no jobs."


@pytest.mark.parametrize(
    ("seconds", "shown"), [(3.25, "3.2 s"), (75, "1 min 15 s"), (7500, "2 h 5 min"), (200_000, "2 d 7 h")]
)
def test_times_are_for_people(seconds, shown):
    job = details(status=JobStatus.SUCCEEDED, start_time=1_000_000, end_time=1_000_000 + int(seconds * 1000))
    assert describe(job) == f"Job train succeeded ({shown})."


def test_a_failure_is_told_with_its_message():
    job = details(status=JobStatus.FAILED, message="exit code 1. Its last lines of output:\nboom", end_time=None)
    assert describe(job).endswith("boom")
    assert describe(job, brief=True).endswith("exit code 1.")
