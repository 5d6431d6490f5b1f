"""A job's supervisor: it runs the entrypoint once, and says what became of it until that is heard."""

import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from limelight.actors import runtime
from limelight.actors.contract import encode
from limelight.actors.native.runtime import NativeRuntime
from limelight.cluster.job.job_details import JobErrorType
from limelight.cluster.job.job_message import STOP, AwaitJobStop, JobEnded, JobStarted, SupervisorOrder, log_name
from limelight.cluster.job.supervisor import JobSupervisor, environment, stop_rule
from limelight.cluster.job_environment import JobEnvironment
from limelight.transport.error import DeadlineExceededError
from tests.cluster.cluster_program import eventually


class Hub:
    """A supervisor's: `deaf` answers of the head are lost, and `unheard_stops` of its orders to stop."""

    def __init__(self, folder: Path) -> None:
        (folder / "logs").mkdir()
        self.identity = SimpleNamespace(session_folder=str(folder), cluster="127.0.0.1:6379")
        self.environments = SimpleNamespace(definition=lambda: b"")
        self.runtime_env: dict = {}
        self.head = None
        self.deaf = 0
        self.stop = threading.Event()
        self.unheard_stops = 0
        self.said: list = []

    def ask(self, _, __, body) -> bytes:
        if isinstance(body, AwaitJobStop):
            self.stop.wait(60)
            self.unheard_stops -= 1
            return b"" if self.unheard_stops >= 0 else STOP
        if self.deaf:
            self.deaf -= 1
            raise DeadlineExceededError("no answer")
        self.said.append(body)
        return b""

    def ended(self) -> JobEnded:
        eventually(lambda: any(isinstance(body, JobEnded) for body in self.said))
        return self.said[-1]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub(tmp_path)
    current = NativeRuntime.__new__(NativeRuntime)
    monkeypatch.setattr(NativeRuntime, "hub", made, raising=False)
    monkeypatch.setattr(runtime, "current", lambda: current)
    yield made
    made.stop.set()


def order(entrypoint: str) -> bytes:
    return encode(SupervisorOrder("job", secrets.token_bytes(16), entrypoint, {}))


def test_it_runs_the_entrypoint_once_though_it_is_made_twice(hub, tmp_path):
    """A head that is restarted while it makes one makes it again."""
    told = order(f"echo run >> {tmp_path}/runs")
    for _ in range(2):
        JobSupervisor(told)
    assert (hub.ended().exit_code, hub.ended().error_type) == (0, None)
    assert [type(body) for body in hub.said] == [JobStarted, JobEnded]
    assert (tmp_path / "runs").read_text() == "run\n"


def test_what_it_says_is_said_until_it_is_heard(hub):
    hub.deaf = 3
    JobSupervisor(order("exit 7"))
    assert hub.ended().exit_code == 7
    assert [type(body) for body in hub.said] == [JobStarted, JobEnded]


def test_an_entrypoint_that_cannot_be_run_is_told(hub, tmp_path):
    (tmp_path / "logs" / log_name("job")).mkdir()
    JobSupervisor(order("true"))
    told = hub.ended()
    assert (told.exit_code, told.error_type) == (None, JobErrorType.JOB_ENTRYPOINT_COMMAND_START_ERROR)
    assert "IsADirectoryError" in told.text


def test_a_wish_to_stop_is_asked_for_until_there_is_one(hub):
    hub.unheard_stops = 2  # as where the head was restarted meanwhile
    JobSupervisor(order("echo up; sleep 1000"))
    hub.stop.set()
    assert hub.ended().stopped


def test_of_what_a_failed_one_has_printed_the_end_is_told_and_not_too_much(hub):
    JobSupervisor(order("head -c 500000 /dev/zero | tr '\\0' x; exit 1"))
    assert 10_000 < len(hub.ended().text) <= 20_000
    hub.said.clear()
    JobSupervisor(order("exit 1"))
    assert hub.ended().text.endswith("It printed nothing.")


JOB = JobEnvironment("job")


def test_python_in_a_command_is_the_one_that_tasks_run_in_unless_the_job_says_otherwise():
    own = str(Path(sys.executable).parent)
    assert environment({"PATH": "/bin"}, JOB, "", {})["PATH"] == f"{own}{os.pathsep}/bin"
    assert environment({"PATH": "/chosen"}, JOB, "", {"PATH": "/chosen"})["PATH"] == "/chosen"


def test_programs_are_told_where_their_cluster_is_and_print_at_once():
    told = environment({"A": "1", "LIMELIGHT_ADDRESS": "elsewhere"}, JOB, "10.0.0.1:6379", {})
    assert (told["A"], told["LIMELIGHT_ADDRESS"], told["PYTHONUNBUFFERED"]) == ("1", "10.0.0.1:6379", "1")
    assert told["LIMELIGHT_JOB"] == JOB.variable()


@pytest.mark.parametrize(
    ("variables", "rule"),
    [
        ({}, (3.0, signal.SIGTERM)),
        ({"LIMELIGHT_JOB_STOP_WAIT_TIME_S": "7.5"}, (7.5, signal.SIGTERM)),
        ({"RAY_JOB_STOP_WAIT_TIME_S": "7", "RAY_JOB_STOP_SIGNAL": "SIGINT"}, (7.0, signal.SIGINT)),
        ({"LIMELIGHT_JOB_STOP_WAIT_TIME_S": "soon", "LIMELIGHT_JOB_STOP_SIGNAL": "SIGSOON"}, (3.0, signal.SIGTERM)),
    ],
)
def test_how_it_is_stopped_is_the_jobs_to_say(variables, rule):
    assert stop_rule(variables) == rule
