"""The head and its jobs: supervisors, and those who watch a job, are answered, and nothing is kept of them."""

import asyncio
import contextlib

import pytest

from limelight.actors.contract import HEAD, encode
from limelight.cluster.head.head import Head
from limelight.cluster.head.head_state import SUBMISSIONS
from limelight.cluster.job.job_details import JobErrorType, JobStatus
from limelight.cluster.job.job_message import STOP, AwaitJobStop
from limelight.cluster.job.submission import EntrypointStarted, Stop, Submission, SubmissionSpec
from limelight.cluster.job.submit_request import SubmitRequest
from limelight.transport.address import ProcessAddress
from limelight.transport.protocol import Call
from tests.cluster.listening import listening


class Channel:
    """To a supervisor's node; keeps what is answered."""

    def __init__(self, process_id: str = "supervisor") -> None:
        self.peer = ProcessAddress(process_id, "h")
        self.answers: list[tuple[int, bytes]] = []

    def reply(self, call_id: int, body: bytes) -> None:
        self.answers.append((call_id, body))


@pytest.fixture
async def head():
    process = await listening("head")
    made = Head(process)
    process.actors[HEAD] = made
    yield made
    made.close()
    await process.close()


def running(head) -> Submission:
    """A job whose entrypoint runs."""
    name = head.submissions.submit(SubmitRequest(entrypoint="sleep 1000"))
    row = head.submissions.find(name)
    head.submissions.feed(EntrypointStarted(name, row.spec.actor_id, 12, "ab" * 28, "10.0.0.2"))
    return row


def ask(head, channel, job, call_id: int) -> None:
    body = encode(AwaitJobStop(job.spec.submission_id, job.spec.actor_id))
    head.methods["AwaitJobStop"](channel, Call(call_id, HEAD, "AwaitJobStop", body))


async def test_a_supervisor_that_asks_again_is_answered_both_times(head):
    """It asks anew where its first question may be lost; an unanswered one would be kept for it all along its way."""
    job, before, after = running(head), Channel(), Channel()
    ask(head, before, job, 1)
    ask(head, after, job, 2)
    assert (before.answers, after.answers) == ([(1, b"")], [])
    head.submissions.feed(Stop(job.spec.submission_id))
    assert after.answers == [(2, STOP)]
    ask(head, after, job, 3)  # it has not heard
    assert after.answers[1:] == [(3, STOP)]


async def test_a_supervisor_that_dies_is_waited_for_by_nobody(head):
    jobs = [running(head), running(head)]
    dead, alive = Channel("dead"), Channel("alive")
    ask(head, dead, jobs[0], 1)
    ask(head, alive, jobs[1], 2)
    head.process_lost("dead")
    assert dead.answers == [(1, b"")]  # else its node would keep the question
    assert list(head.submissions._stop_awaited) == [jobs[1].spec.actor_id]


async def test_who_watches_a_job_hears_of_a_change_and_leaves_nothing_behind(head):
    job = running(head)
    name = job.spec.submission_id
    watching = [asyncio.ensure_future(head.submissions.changed(name)) for _ in range(2)]
    await asyncio.sleep(0)
    watching[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching[0]
    head.submissions.feed(Stop(name))
    await asyncio.wait_for(watching[1], 30)
    last = asyncio.ensure_future(head.submissions.changed(name))
    await asyncio.sleep(0)
    last.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await last
    assert head.submissions._watchers == {}


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.PENDING])
async def test_after_a_restart_a_job_that_ran_is_not_run_again_and_one_that_waited_is(head, status):
    """Of both the head has lost their supervisors."""
    stored = Submission(SubmissionSpec("job", "true", b"x" * 16), 1, status)
    head.submissions.restore({SUBMISSIONS: {"job": encode(stored)}})
    job = head.submissions.find("job")
    if status is JobStatus.PENDING:
        assert job.status is JobStatus.PENDING
        assert job.spec.actor_id in head.actors.directory.table.actors
    else:
        assert (job.status, job.error_type) == (JobStatus.FAILED, JobErrorType.JOB_SUPERVISOR_ACTOR_DIED)
        assert "Submit it again" in job.message
        assert job.spec.actor_id not in head.actors.directory.table.actors


async def test_a_job_is_accepted_when_it_is_kept(head, monkeypatch):
    """Until then, a head that dies has never heard of it."""
    later = []
    monkeypatch.setattr(head.state, "after", later.append)
    kept = asyncio.ensure_future(head.submissions.kept())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not kept.done()
    later.pop()()
    await asyncio.wait_for(kept, 30)
