"""What becomes of an environment that is being made when those who wait for it are stopped, or die."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from limelight.cluster.job.job_details import JobStatus
from tests.cluster.cluster_program import eventually
from tests.cluster.wheel import make_slow_source


class SlowEnvironment:
    """An environment of pip's whose making does not end."""

    def __init__(self, folder: Path) -> None:
        self._begun = folder / "begun"
        source = make_slow_source(folder / "slow", self._begun)
        self.fields = {"pip": {"packages": [str(source)], "pip_install_options": ["--no-index"]}}

    def installer(self) -> psutil.Process:
        """The installer, once it runs; a process that was found so before is not found again."""
        eventually(self._begun.exists)
        found = psutil.Process(int(self._begun.read_text()))
        self._begun.unlink()
        return found


@pytest.fixture
def slow(tmp_path):
    return SlowEnvironment(tmp_path)


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_stopping_a_job_that_waits_for_its_environment_ends_the_installer(client, slow):
    job = client.submit_job(entrypoint="echo never", runtime_env=slow.fields)
    installer = slow.installer()
    assert client.get_job_status(job) is JobStatus.PENDING
    client.stop_job(job)
    eventually(lambda: has_ended(installer))
    assert client.get_job_status(job) is JobStatus.STOPPED


def test_the_installer_goes_on_as_long_as_another_job_waits_for_the_same(client, slow):
    first, second = (client.submit_job(entrypoint="echo never", runtime_env=slow.fields) for _ in range(2))
    installer = slow.installer()
    client.stop_job(first)
    third = client.submit_job(entrypoint="echo up", runtime_env={"env_vars": {"SEEN": "after the stop"}})
    eventually(lambda: client.get_job_status(third) is JobStatus.SUCCEEDED)
    assert not has_ended(installer)
    client.stop_job(second)
    eventually(lambda: has_ended(installer))


def test_a_program_that_is_killed_while_its_environment_is_made_takes_the_installer_along(cluster, slow):
    program = (
        f"import limelight as ll; ll.init('auto', runtime_env={slow.fields!r}); ll.get(ll.task(lambda: 1).remote())"
    )
    with subprocess.Popen([sys.executable, "-c", program], env=cluster.environment) as driver:
        installer = slow.installer()
        os.kill(driver.pid, signal.SIGKILL)
    eventually(lambda: has_ended(installer))
