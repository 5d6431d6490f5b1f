"""What a job prints, read by way of the node that its entrypoint runs on."""

import asyncio
import codecs
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from ...actors.contract import NODE
from ...transport.error import TransportError
from ...transport.protocol import Reply
from ..job.job_message import ReadLog, log_name
from ..job.submission import Submission

if TYPE_CHECKING:
    from .head import Head

_PART = 256 << 10
_PAUSE_S = 1.0
"""Between attempts to reach a node that does not answer."""
_WAIT_S = 10.0
"""How long a node looks for more before it says that there is none."""


class JobLogError(LookupError):
    """A job's log cannot be read; says why."""


class JobLogs:
    """Reads the logs of jobs for the head's web server. Holds one part of a log at a time, however long it is."""

    def __init__(self, head: "Head") -> None:
        self._head = head

    async def whole(self, job: Submission) -> AsyncGenerator[str]:
        """What a job has printed so far, part by part. What is no UTF-8 is shown as U+FFFD.

        Raises:
            JobLogError: it cannot be read.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        offset = 0
        while job.node_id and (part := await self._read(job, offset, 0.0)):
            offset += len(part)
            yield decoder.decode(part)
        if rest := decoder.decode(b"", final=True):
            yield rest

    async def follow(self, job: Submission) -> AsyncGenerator[str]:
        """What a job prints, from the beginning, until it is over. The next part is read when somebody wants it.

        Raises:
            JobLogError: it cannot be read.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        offset = 0
        while True:
            is_over = job.status.is_terminal()  # before reading: what is printed then is all there is
            try:
                part = await self._next(job, offset)
            except JobLogError:
                if is_over:
                    raise
                await self._wait_for_verdict(job)
                continue
            offset += len(part)
            if text := decoder.decode(part, final=is_over and not part):
                yield text
            if is_over and not part:
                return

    async def _wait_for_verdict(self, job: Submission) -> None:
        """The node of a job is out of reach: it comes back, or is given up, and the job with it."""
        changed = self._head.submissions.changed(job.spec.submission_id)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed, _PAUSE_S)

    async def _next(self, job: Submission, offset: int) -> bytes:
        """What a job has printed from `offset` on; b"" when it has printed nothing for a while, or has changed."""
        if job.status.is_terminal():
            return await self._read(job, offset, 0.0) if job.node_id else b""
        changed = asyncio.ensure_future(self._head.submissions.changed(job.spec.submission_id))
        read = asyncio.ensure_future(self._read(job, offset, _WAIT_S)) if job.node_id else None
        waited = [changed] if read is None else [changed, read]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return read.result() if read is not None and read.done() else b""
        finally:
            for task in waited:
                task.cancel()  # a read that comes later is made again, from the same place

    async def _read(self, job: Submission, offset: int, wait: float) -> bytes:
        node = self._head.nodes.get(job.node_id)
        if node is None:
            raise JobLogError(f"The job's log was on node {job.node_id[:12]} ({job.node_ip}), which is gone.")
        answer: asyncio.Future[Reply | TransportError] = asyncio.get_running_loop().create_future()

        def answered(reply: Reply | TransportError) -> None:
            if not answer.done():
                answer.set_result(reply)

        body = ReadLog(log_name(job.spec.submission_id), offset, _PART, wait)
        self._head.process.ask(node.address, NODE, body, answered)
        reply = await answer
        if isinstance(reply, TransportError) or reply.failed:
            why = reply if isinstance(reply, TransportError) else "there is no such file"
            raise JobLogError(f"The job's log on node {job.node_id[:12]} ({job.node_ip}) cannot be read: {why}")
        return reply.body
