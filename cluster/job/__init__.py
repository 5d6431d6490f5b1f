"""Jobs: programs that run on the cluster, whoever submitted them may go. Public as `limelight.job_submission`."""

from typing import TYPE_CHECKING, Any

from .job_details import DriverInfo, JobDetails, JobErrorType, JobInfo, JobStatus, JobType

if TYPE_CHECKING:
    from .submission_client import JobSubmissionClient

__all__ = [
    "DriverInfo",
    "JobDetails",
    "JobErrorType",
    "JobInfo",
    "JobStatus",
    "JobSubmissionClient",
    "JobType",
]


def __getattr__(name: str) -> Any:
    if name == "JobSubmissionClient":  # the head, which has these names too, has no use for a client of its own
        from .submission_client import JobSubmissionClient

        return JobSubmissionClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
