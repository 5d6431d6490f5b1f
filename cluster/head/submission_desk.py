"""The head's dealings with submitted jobs: takes them in, has their supervisors made, and tells how they go."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...actors import ids, runtime_env
from ...actors.contract import (
    EnvironmentDefinition,
    RegisterDriver,
    decoder_of,
    encode,
)
from ...actors.runtime_env import RuntimeEnv
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..job import submission as s
from ..job.job_details import DriverInfo, JobErrorType, JobStatus
from ..job.job_message import STOP, AwaitJobStop, JobEnded, JobStarted
from ..job.submission_book import SubmissionBook
from ..job.submit_request import SubmitRequest
from ..job_environment import JobEnvironment
from ..scheduling import actor_table as t
from ..scheduling.resources import HEAD_RESOURCE
from .head_state import SUBMISSIONS, Rows, decode_rows
from .package_desk import HOME

if TYPE_CHECKING:
    from .head import Head

_KINDS = {
    "unschedulable": JobErrorType.JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE,
    "environment_failed": JobErrorType.RUNTIME_ENV_SETUP_FAILURE,
    "constructor_failed": JobErrorType.JOB_SUPERVISOR_ACTOR_START_FAILURE,
}


class SubmissionDesk:
    """Part of the head actor; on its loop."""

    def __init__(self, head: "Head") -> None:
        self._head = head
        self._book = SubmissionBook()
        self._stop_awaited: dict[bytes, tuple[Channel, int]] = {}
        self._watchers: dict[str, list[asyncio.Future[None]]] = {}
        head.methods |= {
            "JobStarted": self._on_started,
            "JobEnded": self._on_ended,
            "AwaitJobStop": self._on_await_stop,
        }
        head.on_process_lost.append(self._process_lost)

    def feed(self, event: s.SubmissionEvent) -> None:
        """Give the book an event and do what it says.

        Raises:
            SubmissionRefusedError: it is a wish that cannot be.
        """
        commands = self._book.handle(event, _now())
        self._keep_changes()
        for command in commands:
            self._execute(command)

    def restore(self, rows: Rows) -> None:
        """Go on with the jobs that a head before this one had."""
        table = s.SubmissionTable(decode_rows(rows, SUBMISSIONS, s.Submission))
        commands = self._book.restore(table)
        for name in table.rows:
            self._keep_packages(name)
        for command in commands:
            self._execute(command)

    async def kept(self) -> None:
        """Wait until all that was decided so far outlives this head."""
        waiting = self._head.loop.create_future()
        self._head.state.after(lambda: None if waiting.done() else waiting.set_result(None))
        await waiting

    def _keep_changes(self) -> None:
        state, rows = self._head.state, self._book.table.rows
        for name in self._book.take_changed():
            if name in rows:
                state.put(SUBMISSIONS, name, rows[name])
            else:
                state.delete(SUBMISSIONS, name)
            self._keep_packages(name)
            for watcher in self._watchers.pop(name, ()):
                if not watcher.done():
                    watcher.set_result(None)

    def _keep_packages(self, name: str) -> None:
        row = self._book.live(name)
        env = RuntimeEnv(**row.spec.runtime_env, _validate=False) if row is not None else RuntimeEnv()
        self._head.packages.need(name, env.uris())

    def _execute(self, command: s.SubmissionCommand) -> None:
        match command:
            case s.StartSupervisor():
                self._start(command.submission_id)
            case s.OrderStop():
                self._let_stop(command.actor_id)
            case s.EndSupervisor():
                self._let_stop(command.actor_id)
                self._head.actors.feed(t.KillActor(command.actor_id, text="its job is over"))

    # --- users ---

    async def shared(self, request: SubmitRequest) -> None:
        """Wait until the heads that stand by have what a job needs; errors as `submit`."""
        await self._head.packages.share(request.environment().uris(), self._head.standbys())

    def submit(self, request: SubmitRequest) -> str:
        """Take a job in; returns its name.

        Raises:
            ValueError, TypeError, NotImplementedError: it makes no sense, or the name is taken.
        """
        name, units, env = request.name(), request.units(), request.environment()
        key = runtime_env.key(env)
        definition = encode(EnvironmentDefinition(env.serialize(), dict.fromkeys(env.uris(), HOME))) if key else b""
        JobEnvironment(name, request.metadata or {}, definition).variable()  # its supervisor will have to pass it on
        if key:
            self._head.environments.define(key, definition)
        spec = s.SubmissionSpec(
            name,
            request.entrypoint,
            ids.actor_id(),
            request.metadata or {},
            dict(env),
            key,
            request.entrypoint_num_cpus,
            request.entrypoint_num_gpus,
            request.entrypoint_memory,
            request.entrypoint_resources or {},
            request.entrypoint_label_selector or {},
            units,
        )
        self.feed(s.Submit(spec))
        return name

    def find(self, job_or_submission_id: str) -> s.Submission | None:
        """A job by its name, or by the id of its last driver."""
        rows = self._book.table.rows
        found = rows.get(job_or_submission_id)
        if found is not None:
            return found
        drivers = (row for row in rows.values() if row.driver is not None and row.driver.id == job_or_submission_id)
        return next(drivers, None)

    def all(self) -> list[s.Submission]:
        """All jobs that are remembered."""
        return list(self._book.table.rows.values())

    async def changed(self, submission_id: str) -> None:
        """Wait until something about a job has changed."""
        watcher = self._head.loop.create_future()
        self._watchers.setdefault(submission_id, []).append(watcher)
        try:
            await watcher
        finally:
            watchers = self._watchers.get(submission_id, [])
            if watcher in watchers:
                watchers.remove(watcher)
                if not watchers:
                    del self._watchers[submission_id]

    # --- supervisors ---

    def _start(self, submission_id: str) -> None:
        row = self._book.live(submission_id)
        if row is None:
            return
        actors = self._head.actors
        observer = self._observer(row.spec)
        if actors.observe(row.spec.actor_id, observer):
            return
        if row.status is not JobStatus.PENDING:
            text = "The head was restarted, and does not know the job's process any more. Submit it again."
            died = s.SupervisorDied(submission_id, row.spec.actor_id, JobErrorType.JOB_SUPERVISOR_ACTOR_DIED, text)
            self.feed(died)
            return
        from ..job.creation import supervisor_spec  # it brings all that a supervisor needs, which most heads never do

        actors.register(supervisor_spec(row.spec, self._head.process.address, self._head_node()))
        actors.observe(row.spec.actor_id, observer)

    def _head_node(self) -> str:
        nodes = self._head.nodes.values()
        return next((node.node_id.hex() for node in nodes if HEAD_RESOURCE in node.resources), "")

    def _observer(self, spec: s.SubmissionSpec) -> Callable[[t.ActorView], None]:
        def observe(view: t.ActorView) -> None:
            if view.state == "DEAD":
                self._died(spec, view)
            else:
                self.feed(s.SupervisorWaits(spec.submission_id, view.problem))

        return observe

    def _died(self, spec: s.SubmissionSpec, view: t.ActorView) -> None:
        cause = view.cause or t.DeathCause("worker_died", "nothing is known of its end")
        kind = _KINDS.get(cause.kind, JobErrorType.JOB_SUPERVISOR_ACTOR_DIED)

        def tell(text: str) -> None:
            self.feed(s.SupervisorDied(spec.submission_id, spec.actor_id, kind, text))

        if cause.kind == "node_died":
            tell(f"The job's node {view.node_id[:12]} was lost, and the entrypoint with it. Submit the job again.")
        elif cause.kind in _KINDS:
            tell(f"The job could not be started: {cause.text}")
        else:
            begin = "The job's supervisor died, and the entrypoint was ended with it"
            self._head.actors.obituaries.describe(view, cause, lambda seen: tell(f"{begin}: {seen.render()}"))

    def _let_stop(self, actor_id: bytes) -> None:
        """Answer a supervisor that waits for being told to stop; it may be out of reach, and asks again then."""
        waiting = self._stop_awaited.pop(actor_id, None)
        if waiting is not None:
            channel, call_id = waiting
            channel.reply(call_id, STOP)

    def _process_lost(self, process_id: str) -> None:
        for actor_id, (channel, call_id) in list(self._stop_awaited.items()):
            if channel.peer.process_id == process_id:
                del self._stop_awaited[actor_id]
                channel.reply(call_id, b"")  # its node's channel keeps the question until then

    def _on_started(self, channel: Channel, call: Call) -> None:
        told: JobStarted = decoder_of(JobStarted).decode(call.body)
        node_id = self._head.node_of(channel)
        node = self._head.nodes.get(node_id)
        host = "" if node is None else node.host
        self.feed(s.EntrypointStarted(told.submission_id, told.actor_id, told.pid, node_id, host))
        channel.reply(call.call_id, b"")

    def _on_ended(self, channel: Channel, call: Call) -> None:
        told: JobEnded = decoder_of(JobEnded).decode(call.body)
        self.feed(
            s.EntrypointEnded(
                told.submission_id, told.actor_id, told.exit_code, told.stopped, told.text, told.error_type
            )
        )
        channel.reply(call.call_id, b"")

    def _on_await_stop(self, channel: Channel, call: Call) -> None:
        asked: AwaitJobStop = decoder_of(AwaitJobStop).decode(call.body)
        before = self._stop_awaited.pop(asked.actor_id, None)
        if before is not None:
            before[0].reply(before[1], b"")
        self._stop_awaited[asked.actor_id] = (channel, call.call_id)
        self.feed(s.StopAwaited(asked.submission_id, asked.actor_id))

    # --- drivers ---

    def driver_joined(self, driver: RegisterDriver, node_id: str) -> None:
        """A program has called `init()`."""
        if driver.submission_id:
            self.feed(s.DriverJoined(driver.submission_id, self.driver_info(driver, node_id)))

    def driver_info(self, driver: RegisterDriver, node_id: str) -> DriverInfo:
        """What users see of a driver."""
        node = self._head.nodes.get(node_id)
        return DriverInfo(driver.job_id.hex(), "" if node is None else node.host, str(driver.pid))


def _now() -> int:
    return int(time.time() * 1000)
