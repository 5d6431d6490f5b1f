"""The book of submitted jobs: what users and supervisors say, in any order, late, and twice."""

import contextlib

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from limelight.cluster.job import submission as s
from limelight.cluster.job import submission_book
from limelight.cluster.job.job_details import DriverInfo, JobErrorType, JobStatus
from limelight.cluster.job.submission_book import MAX_ENDED, SubmissionBook, SubmissionRefusedError

ACTOR = bytes(16)
DIED = JobErrorType.JOB_SUPERVISOR_ACTOR_DIED


def spec(name="train", actor=ACTOR) -> s.SubmissionSpec:
    return s.SubmissionSpec(name, "python train.py", actor)


def started(name="train", actor=ACTOR) -> s.EntrypointStarted:
    return s.EntrypointStarted(name, actor, 12, "ab" * 28, "10.0.0.2")


def ended(code, name="train", stopped=False) -> s.EntrypointEnded:
    error = None if code == 0 else JobErrorType.JOB_ENTRYPOINT_COMMAND_ERROR
    return s.EntrypointEnded(name, ACTOR, code, stopped, "" if code == 0 else f"code {code}", error)


class Run:
    """A book, and a clock that goes on by one with each event."""

    def __init__(self, *events) -> None:
        self.book, self.now, self.said = SubmissionBook(), 0, []
        self(*events)

    def __call__(self, *events):
        for event in events:
            self.now += 1
            self.said = self.book.handle(event, self.now)
        return self

    def row(self, name="train") -> s.Submission:
        return self.book.table.rows[name]

    @property
    def status(self) -> JobStatus:
        return self.row().status


def test_a_job_is_given_a_supervisor_runs_and_succeeds():
    run = Run(s.Submit(spec()))
    assert run.said == [s.StartSupervisor("train")]
    assert run.status is JobStatus.PENDING
    assert run(started()).status is JobStatus.RUNNING
    assert (run.row().node_ip, run.row().pid) == ("10.0.0.2", 12)
    assert run(ended(0)).status is JobStatus.SUCCEEDED
    assert run.said == [s.EndSupervisor(ACTOR)]
    assert (run.row().start_time, run.row().end_time, run.row().exit_code) == (1, 3, 0)


def test_a_job_whose_entrypoint_fails_says_why():
    run = Run(s.Submit(spec()), started(), ended(3))
    assert (run.status, run.row().message, run.row().exit_code) == (JobStatus.FAILED, "code 3", 3)
    assert run.row().error_type is JobErrorType.JOB_ENTRYPOINT_COMMAND_ERROR


def test_an_end_counts_though_the_start_was_not_heard():
    assert Run(s.Submit(spec()), ended(0)).status is JobStatus.SUCCEEDED


def test_a_name_is_one_jobs():
    run = Run(s.Submit(spec()))
    with pytest.raises(SubmissionRefusedError, match="already exists"):
        run(s.Submit(spec(actor=b"x" * 16)))
    assert run.row().spec.actor_id == ACTOR


def test_a_waiting_job_is_stopped_at_once():
    run = Run(s.Submit(spec()), s.SupervisorWaits("train", "no room"))
    assert run.row().message == "no room"
    assert run(s.Stop("train")).status is JobStatus.STOPPED
    assert run.said == [s.EndSupervisor(ACTOR)]
    assert run.row().message == ""


def test_a_running_job_is_stopped_by_its_supervisor():
    run = Run(s.Submit(spec()), started(), s.Stop("train"))
    assert run.status is JobStatus.RUNNING
    assert run.said == [s.OrderStop(ACTOR)]
    assert run(ended(None, stopped=True)).status is JobStatus.STOPPED


def test_a_wish_to_stop_is_stored_before_it_comes_true():
    """A head that is restarted meanwhile tells the supervisor, who asks it."""
    run = Run(s.Submit(spec()), started())
    run.book.take_changed()
    run(s.Stop("train"))
    assert run.book.take_changed() == ["train"]


def test_a_job_that_ends_while_it_is_to_be_stopped_ended_as_it_did():
    assert Run(s.Submit(spec()), started(), s.Stop("train"), ended(0)).status is JobStatus.SUCCEEDED


def test_a_supervisor_that_asks_late_hears_that_it_is_to_stop():
    run = Run(s.Submit(spec()), started(), s.StopAwaited("train", ACTOR))
    assert run.said == []
    assert run(s.Stop("train"), s.StopAwaited("train", ACTOR)).said == [s.OrderStop(ACTOR)]
    assert run(s.StopAwaited("unknown", ACTOR)).said == [s.OrderStop(ACTOR)]


def test_a_supervisor_of_a_job_that_is_over_is_ended():
    run = Run(s.Submit(spec()), s.Stop("train"), started())
    assert run.said == [s.EndSupervisor(ACTOR)]
    assert run.status is JobStatus.STOPPED


def test_a_lost_supervisor_fails_the_job_unless_it_was_to_stop():
    run = Run(s.Submit(spec()), started(), s.SupervisorDied("train", ACTOR, DIED, "the node burnt"))
    assert (run.status, run.row().message, run.row().error_type) == (JobStatus.FAILED, "the node burnt", DIED)
    run = Run(s.Submit(spec()), started(), s.Stop("train"), s.SupervisorDied("train", ACTOR, DIED, "killed"))
    assert (run.status, run.row().error_type) == (JobStatus.STOPPED, None)


def test_what_is_said_of_an_earlier_job_of_the_name_is_not_about_this_one():
    run = Run(s.Submit(spec()), started(), ended(0), s.Delete("train"), s.Submit(spec(actor=b"new" + bytes(13))))
    assert run(ended(1)).status is JobStatus.PENDING
    assert run(s.SupervisorDied("train", ACTOR, DIED, "late")).status is JobStatus.PENDING


def test_only_jobs_that_are_over_can_be_deleted():
    run = Run(s.Submit(spec()), started())
    with pytest.raises(SubmissionRefusedError, match="Stop it first"):
        run(s.Delete("train"))
    run(ended(0), s.Delete("train"))
    assert run.book.table.rows == {}
    for wish in (s.Delete("train"), s.Stop("train")):
        with pytest.raises(SubmissionRefusedError, match="does not exist"):
            run(wish)


def test_the_last_driver_of_a_job_is_remembered():
    run = Run(s.Submit(spec()), started())
    for number in ("01", "02"):
        run(s.DriverJoined("train", DriverInfo(number, "10.0.0.2", "77")))
    assert run.row().driver.id == "02"
    run(s.DriverJoined("unknown", DriverInfo("03", "", "")))


def test_the_oldest_jobs_that_are_over_are_forgotten():
    run = Run(s.Submit(spec("first")), s.Stop("first"), s.Submit(spec("goes on")))
    for number in range(MAX_ENDED):
        run(s.Submit(spec(str(number))), s.Stop(str(number)))
    assert "first" not in run.book.table.rows
    assert {"0", "goes on"} <= set(run.book.table.rows)


def test_a_restored_book_looks_after_what_is_not_over():
    run = Run(s.Submit(spec("waits")), s.Submit(spec("over")), s.Stop("over"), s.Submit(spec("runs")), started("runs"))
    stored = msgspec.msgpack.encode(run.book.table)
    book = SubmissionBook()
    said = book.restore(msgspec.msgpack.decode(stored, type=s.SubmissionTable))
    assert said == [s.StartSupervisor("waits"), s.StartSupervisor("runs")]
    assert book.table == run.book.table


def test_after_a_restart_the_oldest_are_forgotten_too(monkeypatch):
    """Of which they are forgotten first: by when they ended, which is not the order in which they were stored."""
    monkeypatch.setattr(submission_book, "MAX_ENDED", 2)
    run = Run(s.Submit(spec("a")), s.Submit(spec("b")), s.Stop("b"), s.Stop("a"))
    book = SubmissionBook()
    book.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(run.book.table), type=s.SubmissionTable))
    run.book = book
    run(s.Submit(spec("c")), s.Stop("c"))
    assert list(run.book.table.rows) == ["a", "c"]
    assert "b" in run.book.take_changed()


def test_why_it_waits_is_told_while_it_waits():
    run = Run(s.Submit(spec()), s.SupervisorWaits("train", "no room"))
    assert run.row().message == "no room"
    assert run(started()).row().message == ""
    assert run(s.SupervisorWaits("train", "no room")).row().message == ""  # said late


NAMES = st.sampled_from(["a", "b"])
ACTORS = st.sampled_from([ACTOR, b"x" * 16])
EVENTS = st.lists(
    st.one_of(
        st.builds(lambda name, actor: s.Submit(spec(name, actor)), NAMES, ACTORS),
        st.builds(s.Stop, NAMES),
        st.builds(s.Delete, NAMES),
        st.builds(s.StopAwaited, NAMES, ACTORS),
        st.builds(s.SupervisorWaits, NAMES, st.sampled_from(["", "no room"])),
        st.builds(s.SupervisorDied, NAMES, ACTORS, st.just(DIED), st.just("gone")),
        st.builds(started, NAMES, ACTORS),
        st.builds(lambda name, number: s.DriverJoined(name, DriverInfo(number, "", "")), NAMES, NAMES),
        st.builds(s.EntrypointEnded, NAMES, ACTORS, st.sampled_from([None, 0, 1]), st.booleans()),
    ),
    max_size=30,
)


@given(EVENTS)
def test_whatever_happens_an_end_is_final_and_every_supervisor_is_ended(events):
    book, ends, changed = SubmissionBook(), {}, set()
    stored: dict[str, bytes] = {}
    for now, event in enumerate(events):
        try:
            said = book.handle(event, now)
        except SubmissionRefusedError:
            assert book.take_changed() == []
            continue
        if isinstance(event, s.Submit | s.Delete):
            name = event.spec.submission_id if isinstance(event, s.Submit) else event.submission_id
            ends.pop(name, None)
        for name, row in book.table.rows.items():
            if name in ends:
                assert (row.status, row.end_time) == ends[name]
            if row.status.is_terminal():
                ends[name] = (row.status, row.end_time)
        if isinstance(event, s.EntrypointEnded):
            assert s.EndSupervisor(event.actor_id) in said
        for name in (changed := set(book.take_changed())):
            stored.pop(name, None)
            if name in book.table.rows:
                stored[name] = msgspec.msgpack.encode(book.table.rows[name])
        assert changed <= {"a", "b"}
        # What was stored row by row is the whole table, at every moment: a head may end at any.
        restored = {name: msgspec.msgpack.decode(row, type=s.Submission) for name, row in stored.items()}
        assert restored == book.table.rows


@given(EVENTS)
def test_what_is_said_twice_counts_once(events):
    once, twice = SubmissionBook(), SubmissionBook()
    for now, event in enumerate(events):
        for book, times in ((once, 1), (twice, 2)):
            for _ in range(times):
                with contextlib.suppress(SubmissionRefusedError):
                    book.handle(event, now)
        assert once.table == twice.table
