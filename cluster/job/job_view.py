"""A job's row as users see it."""

from ...actors.contract import RegisterDriver
from .job_details import DriverInfo, JobDetails, JobStatus, JobType
from .submission import Submission

_MESSAGES = {
    JobStatus.RUNNING: "The entrypoint runs.",
    JobStatus.STOPPED: "It was stopped on request.",
    JobStatus.SUCCEEDED: "It has ended with exit code 0.",
    JobStatus.FAILED: "It has failed.",
}


def submitted_details(row: Submission) -> JobDetails:
    """Of a job that was submitted."""
    spec = row.spec
    return JobDetails(
        type=JobType.SUBMISSION,
        status=row.status,
        entrypoint=spec.entrypoint,
        job_id=row.driver.id if row.driver is not None else None,
        submission_id=spec.submission_id,
        driver_info=row.driver,
        message=row.message or _message(row),
        error_type=row.error_type.value if row.error_type is not None else None,
        start_time=row.start_time,
        end_time=row.end_time,
        metadata=spec.metadata,
        runtime_env=spec.runtime_env,
        driver_node_id=row.node_id or None,
        driver_exit_code=row.exit_code,
    )


def driver_details(driver: RegisterDriver, info: DriverInfo, node_id: str) -> JobDetails:
    """Of a program that somebody started."""
    return JobDetails(
        type=JobType.DRIVER,
        status=JobStatus.RUNNING,
        entrypoint=driver.command,
        job_id=info.id,
        driver_info=info,
        message=_MESSAGES[JobStatus.RUNNING],
        start_time=driver.started,
        metadata={},
        runtime_env={},
        driver_node_id=node_id or None,
    )


def _message(row: Submission) -> str:
    if row.status is not JobStatus.PENDING:
        return _MESSAGES[row.status]
    waits = [
        *(["room for what its entrypoint asks for"] if row.spec.wants_resources else []),
        *(["its runtime environment"] if row.spec.runtime_env else []),
    ]
    return f"It has not started yet; it may wait for {' and '.join(waits or ['a process'])}."
