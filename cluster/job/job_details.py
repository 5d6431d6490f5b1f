"""What users see of a job. Names and values are Ray's."""

from dataclasses import dataclass
from enum import Enum
from typing import Any


class JobStatus(str, Enum):  # noqa: UP042 - as in Ray; a StrEnum's repr and format differ
    """Where a job stands. The last three are final."""

    PENDING = "PENDING"
    """It waits: for resources, for its runtime environment, or for its process to start."""
    RUNNING = "RUNNING"
    """Its entrypoint runs."""
    STOPPED = "STOPPED"
    """Somebody stopped it."""
    SUCCEEDED = "SUCCEEDED"
    """Its entrypoint ended with exit code 0."""
    FAILED = "FAILED"
    """Its entrypoint ended with another code, never started, or was lost; the job's message says which."""

    def __str__(self) -> str:
        return self.value

    def is_terminal(self) -> bool:
        """Whether it can not change any more."""
        return self in {JobStatus.STOPPED, JobStatus.SUCCEEDED, JobStatus.FAILED}


class JobErrorType(str, Enum):  # noqa: UP042 - see above
    """What kind of failure ended a job."""

    RUNTIME_ENV_SETUP_FAILURE = "RUNTIME_ENV_SETUP_FAILURE"
    JOB_SUPERVISOR_ACTOR_START_TIMEOUT = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
    JOB_SUPERVISOR_ACTOR_START_FAILURE = "JOB_SUPERVISOR_ACTOR_START_FAILURE"
    JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE = "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"
    JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE = "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE"
    JOB_SUPERVISOR_ACTOR_DIED = "JOB_SUPERVISOR_ACTOR_DIED"
    JOB_ENTRYPOINT_COMMAND_START_ERROR = "JOB_ENTRYPOINT_COMMAND_START_ERROR"
    JOB_ENTRYPOINT_COMMAND_ERROR = "JOB_ENTRYPOINT_COMMAND_ERROR"


class JobType(str, Enum):  # noqa: UP042 - see above
    """How a job came to be."""

    SUBMISSION = "SUBMISSION"
    """It was submitted."""
    DRIVER = "DRIVER"
    """A program that somebody started called `init()`."""


@dataclass
class DriverInfo:
    """The process that runs a job's program.

    Attributes:
        id: the job's id in hexadecimal, as `get_runtime_context().get_job_id()` gives it.
        node_ip_address: of its node.
        pid: its process id there.
    """

    id: str
    node_ip_address: str
    pid: str


@dataclass
class JobInfo:
    """A submitted job. Times are Unix times in milliseconds.

    Attributes:
        status: where it stands.
        entrypoint: its command.
        message: more about the status, for people.
        error_type: a failure's kind.
        start_time: when it was submitted.
        end_time: when it became final.
        metadata: what was given with it.
        runtime_env: the environment that it was given.
        entrypoint_num_cpus, entrypoint_num_gpus, entrypoint_memory, entrypoint_resources: what its entrypoint holds.
        driver_agent_http_address: Ray's; None.
        driver_node_id: the node that its entrypoint runs on.
        driver_exit_code: of its entrypoint.
    """

    status: JobStatus
    entrypoint: str
    message: str | None = None
    error_type: JobErrorType | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    runtime_env: dict[str, Any] | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None


@dataclass
class JobDetails:
    """A job, submitted or not. Times are Unix times in milliseconds.

    Attributes:
        type: how it came to be.
        status: where it stands.
        entrypoint: its command.
        job_id: of its (last) driver in hexadecimal; None where no program of it has called `init()`.
        submission_id: what it was submitted as; None where it was not.
        driver_info: its (last) driver.
        message, error_type, start_time, end_time, metadata, runtime_env, driver_agent_http_address, driver_node_id,
            driver_exit_code: as in `JobInfo`.
    """

    type: JobType
    status: JobStatus
    entrypoint: str
    job_id: str | None = None
    submission_id: str | None = None
    driver_info: DriverInfo | None = None
    message: str | None = None
    error_type: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    runtime_env: dict[str, Any] | None = None
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None
