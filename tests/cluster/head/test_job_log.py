"""A job's log, read by way of its node: all of it and no more, whatever its bytes are and whoever is away meanwhile."""

import asyncio
from types import SimpleNamespace

import pytest

from limelight.actors.contract import HEAD
from limelight.cluster.head import job_log
from limelight.cluster.head.job_log import JobLogError, JobLogs
from limelight.cluster.job.job_details import JobStatus
from limelight.cluster.job.submission import Submission, SubmissionSpec
from limelight.transport.error import PeerLostError
from limelight.transport.protocol import Reply

NODE_ID = "ab" * 28


class HeadDouble:
    """A head, and the node of a job: `log` is what it has printed, `away` how many questions the node does not hear."""

    def __init__(self) -> None:
        self.nodes = {NODE_ID: SimpleNamespace(address=HEAD)}
        self.process = self.submissions = self
        self.log, self.away, self.part = b"", 0, 3
        self.watchers: list[asyncio.Future[None]] = []
        self.offsets: list[int] = []

    def ask(self, _, __, body, answered) -> None:
        self.offsets.append(body.offset)
        if self.away:
            self.away -= 1
            answered(PeerLostError("it is cut off"))
        elif (part := self.log[body.offset : body.offset + self.part]) or not body.wait:
            answered(Reply(0, False, part))

    async def changed(self, _: str) -> None:
        self.watchers.append(asyncio.get_running_loop().create_future())
        await self.watchers[-1]

    def change(self, job: Submission, status: JobStatus) -> None:
        job.status = status
        for watcher in self.watchers:
            if not watcher.done():
                watcher.set_result(None)


@pytest.fixture
def head():
    return HeadDouble()


def job(status: JobStatus = JobStatus.SUCCEEDED, node_id: str = NODE_ID) -> Submission:
    return Submission(SubmissionSpec("job", "true", bytes(16)), 0, status, node_id=node_id)


async def text(parts) -> str:
    return "".join([part async for part in parts])


@pytest.mark.parametrize("read", [JobLogs.whole, JobLogs.follow])
@pytest.mark.parametrize(
    ("log", "shown"),
    [
        (b"", ""),
        ("h\u00e9 \u20ac\U0001f600 \u00e9".encode(), "h\u00e9 \u20ac\U0001f600 \u00e9"),
        (b"a\xffb\xc3(", "a\ufffdb\ufffd("),
        (b"it was killed here: \xe2\x82", "it was killed here: \ufffd"),
    ],
)
async def test_bytes_become_text_wherever_they_are_split(head, read, log, shown):
    for head.part in (1, 2, 3, 100):
        head.log = log
        assert await text(read(JobLogs(head), job())) == shown


@pytest.mark.parametrize("read", [JobLogs.whole, JobLogs.follow])
async def test_a_job_that_never_ran_has_printed_nothing(head, read):
    assert await text(read(JobLogs(head), job(JobStatus.STOPPED, node_id=""))) == ""
    assert head.offsets == []


@pytest.mark.parametrize("read", [JobLogs.whole, JobLogs.follow])
async def test_of_a_job_whose_node_is_gone_it_is_told_so(head, read):
    head.nodes.clear()
    with pytest.raises(JobLogError, match=f"on node {NODE_ID[:12]}.*which is gone"):
        await text(read(JobLogs(head), job(JobStatus.FAILED)))


async def test_a_node_that_is_cut_off_for_a_moment_is_read_on_where_it_was(head, monkeypatch):
    monkeypatch.setattr(job_log, "_PAUSE_S", 0.01)
    head.log, runs = b"abc", job(JobStatus.RUNNING)
    parts = JobLogs(head).follow(runs)
    assert await anext(parts) == "abc"
    head.away, head.log = 3, b"abcdef"
    assert await anext(parts) == "def"
    assert head.offsets == [0, 3, 3, 3, 3]
    head.change(runs, JobStatus.SUCCEEDED)
    assert await text(parts) == ""


async def test_what_is_printed_last_is_shown_though_the_job_is_over_by_then(head):
    runs = job(JobStatus.RUNNING)
    shown = asyncio.ensure_future(text(JobLogs(head).follow(runs)))
    while not head.watchers:  # noqa: ASYNC110 - it is not for a test to be told
        await asyncio.sleep(0)
    head.log = b"the last words"
    head.change(runs, JobStatus.FAILED)
    assert await asyncio.wait_for(shown, 30) == "the last words"
