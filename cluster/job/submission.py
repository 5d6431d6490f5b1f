"""What the head remembers of jobs, as plain values that can be stored, and what it hears and says about them."""

from typing import Any

import msgspec

from .job_details import DriverInfo, JobErrorType, JobStatus


class Struct(msgspec.Struct, frozen=True, array_like=True):
    """Events, commands and values: frozen."""


class SubmissionSpec(Struct, frozen=True):
    """A job as it was submitted; never changes.

    Attributes:
        submission_id: its name.
        entrypoint: a shell's command line.
        actor_id: of its supervisor.
        metadata: whatever its user attached.
        runtime_env: as given, with packages in place of paths.
        environment: the key of that runtime environment.
        num_cpus, num_gpus, memory, resources, label_selector: what its entrypoint asks for.
        units: what it holds, in 1/10000.
    """

    submission_id: str
    entrypoint: str
    actor_id: bytes
    metadata: dict[str, str] = {}
    runtime_env: dict[str, Any] = {}
    environment: str = ""
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: dict[str, float] = {}
    label_selector: dict[str, str] = {}
    units: dict[str, int] = {}

    @property
    def wants_resources(self) -> bool:
        """Whether it asked for anything that decides where it runs."""
        return bool(self.num_cpus or self.num_gpus or self.memory or self.resources or self.label_selector)


class Submission(msgspec.Struct, array_like=True):
    """A job's row. Times are Unix times in milliseconds.

    Attributes:
        message: more about the status; "" for what the status says by itself.
        node_id, node_ip: where its entrypoint runs, and its log lies; "" before.
        pid: of the entrypoint.
        exit_code: of the entrypoint; None until it has ended, and where a signal or a lost node ended it.
        stopping: somebody wants it stopped.
        driver: the last process of it that has joined the cluster.
    """

    spec: SubmissionSpec
    start_time: int
    status: JobStatus = JobStatus.PENDING
    message: str = ""
    error_type: JobErrorType | None = None
    end_time: int | None = None
    node_id: str = ""
    node_ip: str = ""
    pid: int = 0
    exit_code: int | None = None
    stopping: bool = False
    driver: DriverInfo | None = None


class SubmissionTable(msgspec.Struct, array_like=True):
    """The whole state of the book, by submission id."""

    rows: dict[str, Submission] = {}


# Events


class Submit(Struct, frozen=True, tag="submit"):
    """Run a job."""

    spec: SubmissionSpec


class SupervisorWaits(Struct, frozen=True, tag="waits"):
    """A job's supervisor cannot be placed now, for that reason; "": it can."""

    submission_id: str
    problem: str


class SupervisorDied(Struct, frozen=True, tag="died"):
    """A job's supervisor is no more, or will never be."""

    submission_id: str
    actor_id: bytes
    error_type: JobErrorType
    text: str


class EntrypointStarted(Struct, frozen=True, tag="started"):
    """A supervisor has started the entrypoint."""

    submission_id: str
    actor_id: bytes
    pid: int
    node_id: str
    node_ip: str


class EntrypointEnded(Struct, frozen=True, tag="ended"):
    """An entrypoint has ended, or could not be started.

    Attributes:
        exit_code: None where it has none.
        stopped: its supervisor had stopped it.
        text: more about a failure, for people.
        error_type: the failure's kind.
    """

    submission_id: str
    actor_id: bytes
    exit_code: int | None
    stopped: bool = False
    text: str = ""
    error_type: JobErrorType | None = None


class StopAwaited(Struct, frozen=True, tag="stop_awaited"):
    """A supervisor wants to know when it is to stop."""

    submission_id: str
    actor_id: bytes


class Stop(Struct, frozen=True, tag="stop"):
    """End a job."""

    submission_id: str


class Delete(Struct, frozen=True, tag="delete"):
    """Forget a job that is over."""

    submission_id: str


class DriverJoined(Struct, frozen=True, tag="driver_joined"):
    """A process of a job has called `init()`."""

    submission_id: str
    driver: DriverInfo


SubmissionEvent = (
    Submit
    | SupervisorWaits
    | SupervisorDied
    | EntrypointStarted
    | EntrypointEnded
    | StopAwaited
    | Stop
    | Delete
    | DriverJoined
)


# Commands


class StartSupervisor(Struct, frozen=True, tag="start_supervisor"):
    """Have the job's supervisor run, unless it does."""

    submission_id: str


class OrderStop(Struct, frozen=True, tag="order_stop"):
    """Tell a supervisor to stop its entrypoint; it asks again if it does not hear."""

    actor_id: bytes


class EndSupervisor(Struct, frozen=True, tag="end_supervisor"):
    """A supervisor is not needed any more."""

    actor_id: bytes


SubmissionCommand = StartSupervisor | OrderStop | EndSupervisor
