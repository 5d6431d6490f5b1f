"""The head's book of jobs that were submitted: each has a supervisor, an actor that runs its entrypoint.

    PENDING -> RUNNING -> SUCCEEDED | FAILED | STOPPED
       |
       +----> STOPPED | FAILED

All state is in a `SubmissionTable`; `take_changed` says which rows to store, and `restore` goes on from there.
"""

from .job_details import JobStatus
from .submission import (
    Delete,
    DriverJoined,
    EndSupervisor,
    EntrypointEnded,
    EntrypointStarted,
    OrderStop,
    StartSupervisor,
    Stop,
    StopAwaited,
    Submission,
    SubmissionCommand,
    SubmissionEvent,
    SubmissionTable,
    Submit,
    SupervisorDied,
    SupervisorWaits,
)

MAX_ENDED = 10_000
"""Jobs that are over and still remembered."""


class SubmissionRefusedError(ValueError):
    """What is asked about a job cannot be; says why."""


class SubmissionBook:
    """The state machine. Single-threaded; every event may come late or twice."""

    def __init__(self) -> None:
        self.table = SubmissionTable({})
        self._ended: dict[str, None] = {}
        self._changed: dict[str, None] = {}

    def handle(self, event: SubmissionEvent, now: int) -> list[SubmissionCommand]:
        """Take in one event; returns what is to be done, in order.

        Args:
            event: what has happened.
            now: Unix time in milliseconds.

        Raises:
            SubmissionRefusedError: a user's wish that cannot be; nothing has changed.
        """
        match event:
            case Submit():
                return self._submit(event, now)
            case Stop():
                return self._stop(event, now)
            case Delete():
                return self._delete(event)
            case StopAwaited():
                row = self.live(event.submission_id)
                goes_on = row is not None and row.spec.actor_id == event.actor_id and not row.stopping
                return [] if goes_on else [OrderStop(event.actor_id)]
            case EntrypointStarted() | EntrypointEnded() | SupervisorDied():
                return self._from_supervisor(event, now)
            case SupervisorWaits():
                self._waits(event)
            case DriverJoined():
                self._driver_joined(event)
        return []

    def take_changed(self) -> list[str]:
        """The jobs whose rows have changed, or are gone, since this was called last."""
        changed, self._changed = list(self._changed), {}
        return changed

    def restore(self, table: SubmissionTable) -> list[SubmissionCommand]:
        """Go on from a stored table; returns what may have been lost."""
        self.table = table
        over = [row for row in table.rows.values() if row.status.is_terminal()]
        self._ended = {row.spec.submission_id: None for row in sorted(over, key=lambda row: row.end_time or 0)}
        return [StartSupervisor(name) for name, row in table.rows.items() if not row.status.is_terminal()]

    def live(self, submission_id: str) -> Submission | None:
        """A job that is not over."""
        row = self.table.rows.get(submission_id)
        return None if row is None or row.status.is_terminal() else row

    # --- users ---

    def _submit(self, event: Submit, now: int) -> list[SubmissionCommand]:
        name = event.spec.submission_id
        if name in self.table.rows:
            raise SubmissionRefusedError(
                f"Job with submission_id {name} already exists. Please use a different submission_id."
            )
        self.table.rows[name] = Submission(event.spec, now)
        self._changed[name] = None
        return [StartSupervisor(name)]

    def _stop(self, event: Stop, now: int) -> list[SubmissionCommand]:
        row = self._known(event.submission_id)
        if row.status.is_terminal():
            return []
        if row.status is JobStatus.PENDING:
            self._end(row, JobStatus.STOPPED, now)
            return [EndSupervisor(row.spec.actor_id)]
        row.stopping = True
        self._changed[event.submission_id] = None
        return [OrderStop(row.spec.actor_id)]

    def _delete(self, event: Delete) -> list[SubmissionCommand]:
        row = self._known(event.submission_id)
        if not row.status.is_terminal():
            raise SubmissionRefusedError(
                f"Job {event.submission_id} is {row.status}: only jobs that are over can be deleted. Stop it first."
            )
        self._forget(event.submission_id)
        return []

    def _known(self, submission_id: str) -> Submission:
        row = self.table.rows.get(submission_id)
        if row is None:
            raise SubmissionRefusedError(f"Job {submission_id} does not exist")
        return row

    # --- supervisors ---

    def _from_supervisor(
        self, event: EntrypointStarted | EntrypointEnded | SupervisorDied, now: int
    ) -> list[SubmissionCommand]:
        row = self.live(event.submission_id)
        if row is None or row.spec.actor_id != event.actor_id:  # it is over, as far as users were told
            return [] if isinstance(event, SupervisorDied) else [EndSupervisor(event.actor_id)]
        match event:
            case EntrypointStarted():
                return self._started(row, event)
            case EntrypointEnded():
                self._entrypoint_ended(row, event, now)
                return [EndSupervisor(event.actor_id)]
            case SupervisorDied():
                row.error_type = None if row.stopping else event.error_type
                row.message = "" if row.stopping else event.text
                self._end(row, JobStatus.STOPPED if row.stopping else JobStatus.FAILED, now)
                return []

    def _started(self, row: Submission, event: EntrypointStarted) -> list[SubmissionCommand]:
        row.status, row.message = JobStatus.RUNNING, ""
        row.pid, row.node_id, row.node_ip = event.pid, event.node_id, event.node_ip
        self._changed[event.submission_id] = None
        return []

    def _entrypoint_ended(self, row: Submission, event: EntrypointEnded, now: int) -> None:
        row.exit_code = event.exit_code
        if event.stopped:
            self._end(row, JobStatus.STOPPED, now)
        elif event.exit_code == 0:
            self._end(row, JobStatus.SUCCEEDED, now)
        else:
            row.message, row.error_type = event.text, event.error_type
            self._end(row, JobStatus.FAILED, now)

    def _waits(self, event: SupervisorWaits) -> None:
        row = self.live(event.submission_id)
        if row is not None and row.status is JobStatus.PENDING and row.message != event.problem:
            row.message = event.problem
            self._changed[event.submission_id] = None

    def _driver_joined(self, event: DriverJoined) -> None:
        row = self.table.rows.get(event.submission_id)
        if row is not None:
            row.driver = event.driver
            self._changed[event.submission_id] = None

    # --- ends ---

    def _end(self, row: Submission, status: JobStatus, now: int) -> None:
        row.status, row.end_time = status, now
        if status is JobStatus.STOPPED:
            row.message = ""
        name = row.spec.submission_id
        self._changed[name] = None
        self._ended[name] = None
        while len(self._ended) > MAX_ENDED:
            self._forget(next(iter(self._ended)))

    def _forget(self, submission_id: str) -> None:
        del self.table.rows[submission_id]
        self._ended.pop(submission_id, None)
        self._changed[submission_id] = None
