"""Jobs, submitted to a real cluster by its REST API."""

import asyncio
import base64
import contextlib
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psutil
import pytest

from limelight.exceptions import AuthenticationError
from limelight.job_submission import JobStatus, JobSubmissionClient, JobType
from tests.cluster.cluster_program import eventually

PROGRAM = """
import limelight as ll
ll.init()
print(ll.get(ll.task(lambda: ll.get_runtime_context().get_job_id()).remote()))
"""


def run(client, entrypoint: str, **options) -> str:
    """Submit a job and wait until it is over."""
    return finish(client, client.submit_job(entrypoint=entrypoint, **options))


def finish(client, job: str) -> str:
    eventually(lambda: client.get_job_status(job).is_terminal())
    return job


def running(client, entrypoint: str, **options) -> str:
    """Submit a job that prints a line, and wait for that."""
    job = client.submit_job(entrypoint=entrypoint, **options)
    eventually(lambda: client.get_job_logs(job))
    return job


def tail(client, job: str) -> str:
    async def follow() -> str:
        return "".join([text async for text in client.tail_job_logs(job)])

    return asyncio.run(follow())


def is_alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_a_job_runs_and_is_told_of(client):
    job = run(client, "echo out; echo err >&2", metadata={"owner": "me"}, submission_id="first-1")
    assert job == "first-1"
    info = client.get_job_info(job)
    assert (info.type, info.status, info.driver_exit_code) == (JobType.SUBMISSION, JobStatus.SUCCEEDED, 0)
    assert (info.entrypoint, info.metadata, info.error_type) == ("echo out; echo err >&2", {"owner": "me"}, None)
    assert info.start_time <= info.end_time
    assert client.get_job_logs(job) == "out\nerr\n"
    assert job in {listed.submission_id for listed in client.list_jobs()}


def test_a_program_of_a_job_joins_its_cluster(client):
    job = run(client, f"python -c '{PROGRAM}'")
    info = client.get_job_info(job)
    assert info.status is JobStatus.SUCCEEDED, info.message
    assert client.get_job_logs(job).strip() == info.job_id == info.driver_info.id
    assert client.get_job_info(info.job_id).submission_id == job


def test_a_failure_has_the_exit_code_and_the_last_output(client):
    info = client.get_job_info(run(client, "echo so far; exit 7"))
    assert (info.status, info.driver_exit_code) == (JobStatus.FAILED, 7)
    assert info.error_type == "JOB_ENTRYPOINT_COMMAND_ERROR"
    assert "exit code 7" in info.message
    assert "so far" in info.message
    info = client.get_job_info(run(client, "kill -9 $$"))
    assert (info.status, info.driver_exit_code) == (JobStatus.FAILED, None)
    assert "SIGKILL" in info.message


def test_stopping_ends_all_that_the_job_has_started(client):
    job = running(client, "sleep 1000 & echo $!; sleep 1000")
    child = int(client.get_job_logs(job))
    assert is_alive(child)
    assert client.stop_job(job)
    finish(client, job)
    assert client.get_job_info(job).status is JobStatus.STOPPED
    eventually(lambda: not is_alive(child))
    assert not client.stop_job(job)


def test_patience_and_signal_of_a_stop_are_the_jobs_own(client):
    stubborn = "trap '' TERM; trap 'echo interrupted; exit 5' INT; echo up; while :; do sleep 0.05; done"
    env = {"env_vars": {"LIMELIGHT_JOB_STOP_SIGNAL": "SIGINT", "LIMELIGHT_JOB_STOP_WAIT_TIME_S": "20"}}
    job = running(client, stubborn, runtime_env=env)
    client.stop_job(job)
    assert client.get_job_info(finish(client, job)).status is JobStatus.STOPPED
    assert client.get_job_logs(job) == "up\ninterrupted\n"


def test_a_log_is_followed_to_its_end(client):
    assert tail(client, client.submit_job(entrypoint="for i in 1 2 3; do echo $i; sleep 0.1; done")) == "1\n2\n3\n"


def test_long_lines_and_bytes_that_are_no_text_are_followed_too(client):
    line = "x" * 3_000_000
    program = f"import sys; sys.stdout.buffer.write(b'x' * {len(line)} + b'\\xff\\xc3' + 'é'.encode() * 300_000)"
    job = client.submit_job(entrypoint=f'python -c "{program}"')
    expected = line + "\ufffd\ufffd" + "é" * 300_000
    assert tail(client, job) == expected
    assert client.get_job_logs(job) == expected


def test_a_reader_that_leaves_or_is_slow_disturbs_nobody(client):
    job = client.submit_job(entrypoint="python -c \"print('y' * 20_000_000)\"")

    async def first() -> str:
        async for text in client.tail_job_logs(job):
            return text
        raise AssertionError("nothing came")

    async def slow() -> int:
        count = 0
        async for text in client.tail_job_logs(job):
            count += len(text)
            await asyncio.sleep(0.001)
        return count

    assert asyncio.run(first()).startswith("y")
    assert asyncio.run(slow()) == 20_000_001


def test_a_job_waits_for_what_its_entrypoint_asks_for(client):
    first = running(client, "echo up; sleep 1000", entrypoint_num_cpus=2)
    second = client.submit_job(entrypoint="echo second", entrypoint_num_cpus=1)
    never = client.submit_job(entrypoint="echo never", entrypoint_resources={"unobtainium": 1})
    eventually(lambda: "unobtainium" in client.get_job_info(never).message)
    assert client.get_job_status(second) is JobStatus.PENDING
    assert client.get_job_logs(second) == ""
    client.stop_job(first)
    assert client.get_job_status(finish(client, second)) is JobStatus.SUCCEEDED
    assert client.stop_job(never)
    assert client.get_job_status(never) is JobStatus.STOPPED
    assert tail(client, never) == ""


def test_of_many_who_submit_one_name_at_once_one_does(client):
    def submit(number: int) -> bool:
        with contextlib.suppress(RuntimeError):
            return client.submit_job(entrypoint=f"echo {number}", submission_id="contested") == "contested"
        return False

    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(submit, range(8)))
    assert taken.count(True) == 1
    assert client.get_job_logs(finish(client, "contested")) == f"{taken.index(True)}\n"


def test_a_job_that_waits_for_its_environment_is_stopped_at_once_and_holds_nothing(client, tmp_path):
    slow = tmp_path / "python"
    slow.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 1000\n")
    slow.chmod(0o755)
    env = {"py_executable": str(slow)}
    job = client.submit_job(entrypoint="true", runtime_env=env, entrypoint_num_cpus=2)
    eventually((tmp_path / "pid").exists)
    assert client.get_job_status(job) is JobStatus.PENDING
    assert client.stop_job(job)
    assert client.get_job_status(job) is JobStatus.STOPPED
    assert client.get_job_status(run(client, "true", entrypoint_num_cpus=2)) is JobStatus.SUCCEEDED
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not psutil.pid_exists(pid))


def test_a_jobs_environment_is_its_entrypoints_and_its_tasks(client, tmp_path):
    (tmp_path / "beside.py").write_text("WHERE = __file__")
    (tmp_path / "main.py").write_text(
        "import os, beside, limelight as ll\n"
        "print(os.environ['COLOUR'], os.path.basename(beside.WHERE))\n"
        "ll.init(runtime_env={'env_vars': {'SHAPE': 'round'}})\n"
        "@ll.task\n"
        "def look():\n"
        "    import beside\n"
        "    return os.environ['COLOUR'], os.environ['SHAPE'], os.path.basename(beside.WHERE)\n"
        "print(*ll.get(look.remote()))\n"
    )
    env = {"working_dir": str(tmp_path), "env_vars": {"COLOUR": "red"}}
    job = run(client, "python main.py", runtime_env=env)
    assert client.get_job_logs(job) == "red beside.py\nred round beside.py\n"
    assert client.get_job_info(job).runtime_env["env_vars"] == {"COLOUR": "red"}


def test_a_jobs_setup_hook_may_be_a_function(client):
    def hook():
        os.environ["HOOKED"] = "yes"

    program = (
        "import limelight as ll; ll.init(); print(ll.get(ll.task(lambda: __import__('os').environ['HOOKED']).remote()))"
    )
    env = {"worker_process_setup_hook": hook, "env_vars": {"A": "1"}}
    job = run(client, f'echo $HOOKED; python -c "{program}"', runtime_env=env)
    assert client.get_job_logs(job) == "yes\nyes\n"
    assert client.get_job_info(job).runtime_env["worker_process_setup_hook"].endswith("hook")


def test_a_program_that_contradicts_its_job_is_told_so(client):
    program = "import limelight as ll; ll.init(runtime_env={'env_vars': {'COLOUR': 'blue'}})"
    program += "; print(ll.get(ll.task(lambda: __import__('os').environ['COLOUR']).remote()))"
    env = {"env_vars": {"COLOUR": "red"}}
    job = run(client, f'python -c "{program}"', runtime_env=env)
    assert "about env_vars['COLOUR']. Say it in one place" in client.get_job_logs(job)
    env["env_vars"]["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
    assert client.get_job_logs(run(client, f'python -c "{program}"', runtime_env=env)) == "blue\n"


def test_a_supervisor_that_is_killed_takes_the_entrypoint_along(client):
    job = running(client, "echo $PPID $$; sleep 1000")
    supervisor, shell = map(int, client.get_job_logs(job).split())
    os.kill(supervisor, signal.SIGKILL)
    info = client.get_job_info(finish(client, job))
    assert (info.status, info.error_type) == (JobStatus.FAILED, "JOB_SUPERVISOR_ACTOR_DIED")
    assert "SIGKILL" in info.message
    eventually(lambda: not is_alive(shell))


def test_a_driver_that_was_not_submitted_is_listed_too(cluster, client):
    program = "import limelight as ll, sys; print(ll.init('auto')['job_id'], flush=True); sys.stdin.read()"
    pipes = {"stdin": -1, "stdout": -1, "text": True, "env": cluster.environment}
    with psutil.Popen([sys.executable, "-c", program], **pipes) as driver:
        job = driver.stdout.readline().strip()
        info = client.get_job_info(job)
        assert (info.type, info.status, info.driver_info.pid) == (JobType.DRIVER, JobStatus.RUNNING, str(driver.pid))
        assert job in {listed.job_id for listed in client.list_jobs()}
        with pytest.raises(RuntimeError, match="was not submitted"):
            client.stop_job(job)
        driver.communicate("")
    eventually(lambda: job not in {listed.job_id for listed in client.list_jobs()})


def test_deleting_forgets_a_job_that_is_over(client):
    job = running(client, "echo up; sleep 1000")
    with pytest.raises(RuntimeError, match="only jobs that are over"):
        client.delete_job(job)
    client.stop_job(job)
    assert client.delete_job(finish(client, job))
    with pytest.raises(RuntimeError, match="404"):
        client.get_job_info(job)
    assert client.get_job_logs(run(client, "echo anew", submission_id=job)) == "anew\n"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"entrypoint": " "}, "entrypoint is empty"),
        ({"entrypoint": "echo \0"}, "entrypoint has a NUL character"),
        ({"entrypoint": "echo " + "x" * 131_072}, "entrypoint has 131077 bytes, and may have 120000"),
        ({"entrypoint": "ls", "metadata": {"large": "x" * 100_000}}, "may be 90000 together"),
        ({"entrypoint": "ls", "runtime_env": {"env_vars": {"LARGE": "x" * 100_000}}}, "may be 90000 together"),
        ({"entrypoint": "ls", "submission_id": "../../etc"}, "submission_id='../../etc'"),
        ({"entrypoint": "ls", "entrypoint_num_cpus": -1}, "num_cpus"),
        ({"entrypoint": "ls", "entrypoint_label_selector": {"zone": "in("}}, "zone"),
        ({"entrypoint": "ls", "metadata": {"number": 1}}, "Expected `str`"),
        ({"entrypoint": 3}, "Expected `str`"),
    ],
)
def test_what_makes_no_sense_is_refused(client, asked, told):
    with pytest.raises(RuntimeError, match="400") as error:
        client.submit_job(**asked)
    assert told in str(error.value)


def test_a_runtime_env_that_makes_no_sense_is_refused_before_it_is_sent(client):
    with pytest.raises(ValueError, match="working_dir"):
        client.submit_job(entrypoint="ls", runtime_env={"working_dir": "no/such/folder"})
    with pytest.raises(ValueError, match="env_vars"):
        client.submit_job(entrypoint="ls", runtime_env={"env_var": {}})


def test_names_are_taken_once_and_strangers_are_unknown(client):
    run(client, "true", submission_id="once")
    with pytest.raises(RuntimeError, match="already exists"):
        client.submit_job(entrypoint="true", submission_id="once")
    for ask in (client.get_job_info, client.get_job_status, client.get_job_logs, client.stop_job, client.delete_job):
        with pytest.raises(RuntimeError, match="Job nobody does not exist"):
            ask("nobody")
    with pytest.raises(RuntimeError, match="Job nobody does not exist"):
        tail(client, "nobody")


def test_the_token_opens_and_nothing_else(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("LIMELIGHT_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(AuthenticationError, match="wrong"):
        JobSubmissionClient(cluster.url, token="0" * 64)
    with pytest.raises(AuthenticationError, match="missing"):
        JobSubmissionClient(cluster.url)
    monkeypatch.setenv("LIMELIGHT_TOKEN", cluster.token)
    monkeypatch.setenv("LIMELIGHT_API_SERVER_ADDRESS", cluster.url)
    assert JobSubmissionClient().get_address() == cluster.url


def test_a_head_that_is_away_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionError, match="Does the head run"):
        JobSubmissionClient(f"http://127.0.0.1:{port}", token="0" * 64)


def test_an_address_that_is_nearly_right_is_told_what_it_should_be(cluster):
    with pytest.raises(ConnectionError, match="given without http://"):
        JobSubmissionClient(f"http://{cluster.address}", token=cluster.token)
    with pytest.raises(ConnectionError, match=r"speaks no TLS: is it http://\?"):
        JobSubmissionClient(cluster.url.replace("http:", "https:"), token=cluster.token)
    dashboard = cluster.url.removeprefix("http://")
    with pytest.raises(ConnectionError, match=f"is written http://{dashboard} then"):
        JobSubmissionClient(dashboard, token=cluster.token)


def test_addresses_that_are_none(client):
    with pytest.raises(ValueError, match="http://"):
        JobSubmissionClient("ftp://somewhere")
    with pytest.raises(TypeError, match="must be a string"):
        JobSubmissionClient(8265)
    with pytest.raises(FileNotFoundError, match="no such file"):
        JobSubmissionClient("https://127.0.0.1:1", verify="/no/such/file")
    assert client.get_address().startswith("http://127.0.0.1:")


def test_what_programs_know_of_their_job(client):
    job = run(client, "echo $LIMELIGHT_JOB; pwd; python -c 'import sys; print(sys.executable)'", metadata={"a": "b"})
    variable, _, python = client.get_job_logs(job).splitlines()
    assert msgspec.msgpack.decode(base64.b64decode(variable))["metadata"] == {"a": "b"}
    assert Path(python).parent == Path(sys.executable).parent
