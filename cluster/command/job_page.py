"""Jobs in words, and in a table."""

import time
from collections.abc import Sequence

from ..job.job_details import JobDetails, JobStatus
from ..job.job_message import OUTPUT_FOLLOWS
from .table import table

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def describe(job: JobDetails, *, brief: bool = False) -> str:
    """One job: where it stands, and why; `brief`: without the output that a failure's message ends with."""
    name = job.submission_id or job.job_id
    verbs = {
        JobStatus.PENDING: "waits",
        JobStatus.RUNNING: "runs",
        JobStatus.STOPPED: "was stopped",
        JobStatus.SUCCEEDED: "succeeded",
        JobStatus.FAILED: "failed",
    }
    line = f"Job {name} {verbs[job.status]} ({_duration(job)})."
    if not job.message or job.status not in {JobStatus.PENDING, JobStatus.FAILED}:
        return line
    return f"{line}\n{job.message.partition(OUTPUT_FOLLOWS)[0] if brief else job.message}"


def job_table(jobs: Sequence[JobDetails], width: int | None = None) -> str:
    """All jobs, one a line; the last column is cut where the terminal ends."""
    if not jobs:
        return "There are no jobs."
    rows = [
        [
            job.submission_id or job.job_id or "",
            str(job.status),
            _moment(job.start_time),
            _duration(job),
            " ".join(job.entrypoint.split()),
        ]
        for job in jobs
    ]
    return table(["JOB", "STATUS", "SUBMITTED", "TOOK", "ENTRYPOINT"], rows, width)


def _moment(milliseconds: int | None) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(milliseconds / 1000)) if milliseconds else ""


def _duration(job: JobDetails) -> str:
    """How long it has taken so far, with its wait."""
    if job.start_time is None:
        return ""
    seconds = (job.end_time or time.time() * 1000) / 1000 - job.start_time / 1000
    if seconds < _MINUTE:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE:.0f} s"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // _MINUTE:.0f} min"
    return f"{seconds // _DAY:.0f} d {seconds % _DAY // _HOUR:.0f} h"
