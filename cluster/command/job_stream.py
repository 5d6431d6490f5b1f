"""Showing what a job prints, also across a restart of the head."""

import asyncio
import contextlib
import re
import sys
import time

from ..job.job_details import JobStatus
from ..job.submission_client import JobSubmissionClient

_PATIENCE_S = 60.0
"""How long a head may be away."""
_PAUSE_S = 0.5
_WAIT_S = 2.0
"""A job that waits for longer says why; how often that is looked at."""


def show_output(client: JobSubmissionClient, name: str) -> None:
    """Write a job's output to stdout as it comes, until the job is over.

    Where the connection is cut before, the head may be on its way back: the output is then read again from its
    beginning, and what was shown is left out.

    Raises:
        RuntimeError: there is no such job, or its log is gone. ConnectionError: the head has been away for a minute.
    """
    output = _Output()
    seen = time.monotonic()
    told = False
    while True:
        before = output.shown
        try:
            asyncio.run(_show(client, name, output))
        except ConnectionError:
            if output.shown > before:
                seen, told = time.monotonic(), False
            if not told:
                sys.stderr.write("The head is away; the job goes on, and what it prints is shown when there is one.\n")
                told = True
            if time.monotonic() - seen > _PATIENCE_S:
                raise
            time.sleep(_PAUSE_S)
            with contextlib.suppress(ConnectionError):  # none leads yet
                client.find_again()
        else:
            return


class _Output:
    """What was written so far.

    Attributes:
        shown: characters.
        reason: why the job waits, as it was told last, without its numbers.
    """

    def __init__(self) -> None:
        self.shown = 0
        self.reason = ""

    def write(self, text: str, position: int) -> None:
        """Write text that begins at a position, but for what was shown before."""
        new = text[max(0, self.shown - position) :]
        if new:
            sys.stdout.write(new)
            sys.stdout.flush()
            self.shown += len(new)


async def _show(client: JobSubmissionClient, name: str, output: _Output) -> None:
    position = 0
    waiting = asyncio.create_task(_tell_why_it_waits(client, name, output))
    try:
        async for text in client.tail_job_logs(name):
            output.write(text, position)
            position += len(text)
    finally:
        waiting.cancel()


async def _tell_why_it_waits(client: JobSubmissionClient, name: str, output: _Output) -> None:
    """Until the job has begun: one that nothing is heard of may wait for what this cluster will never have."""
    while True:
        await asyncio.sleep(_WAIT_S)
        try:
            details = await asyncio.to_thread(client.get_job_info, name)
        except (RuntimeError, ConnectionError):
            return  # who shows the output is told, too
        if details.status is not JobStatus.PENDING:
            return
        reason = re.sub(r"[\d.]+", "", details.message or "")
        if reason != output.reason:
            output.reason = reason
            sys.stderr.write(f"Job {name} waits: {details.message}\n")
