"""What supervisors and the head say to each other, and how a log is read."""

from ...actors.contract import Body
from .job_details import JobErrorType


class SupervisorOrder(Body, frozen=True):
    """What a supervisor is made with."""

    submission_id: str
    actor_id: bytes
    entrypoint: str
    metadata: dict[str, str]


class JobStarted(Body, frozen=True):
    """To the head, from a supervisor: the entrypoint runs. Answered with an empty body."""

    submission_id: str
    actor_id: bytes
    pid: int


class JobEnded(Body, frozen=True):
    """To the head, from a supervisor: see `EntrypointEnded`. Answered with an empty body."""

    submission_id: str
    actor_id: bytes
    exit_code: int | None
    stopped: bool = False
    text: str = ""
    error_type: JobErrorType | None = None


class AwaitJobStop(Body, frozen=True):
    """To the head, from a supervisor: answer with `STOP` when the job is to stop.

    An empty answer says that the same was asked anew.
    """

    submission_id: str
    actor_id: bytes


STOP = b"stop"

OUTPUT_FOLLOWS = " Its last lines of output:\n"
"""In the text of a failure, between what has happened and what was printed."""


class ReadLog(Body, frozen=True):
    """To a node manager: a part of a file in its session's folder for logs. Answered with the bytes.

    Where there are none from `offset` on, they are waited for, at most `wait` seconds; then the answer is empty.
    """

    name: str
    offset: int
    size: int
    wait: float = 0.0


def log_name(submission_id: str) -> str:
    """The file, in the session's folder for logs, with what a job's entrypoint prints."""
    return f"job-driver-{submission_id}.log"
