"""The lives of a node's workers: started on the lease machine's orders, heard of, and what follows their ends."""

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from ...actors.contract import (
    DescribeDeath,
    RegisterDriver,
    WorkerBlocked,
    WorkerLeaving,
    WorkerReady,
    WorkerUnfit,
    decoder_of,
)
from ...exceptions import DeathCause, DeathKind, RuntimeEnvSetupError
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..process.spawn import SpawnerLostError
from ..scheduling import lease_message as m
from .environment_desk import EnvironmentDesk
from .worker_table import Worker, WorkerTable

if TYPE_CHECKING:
    from .manager import NodeManager

_EXIT_REPORT_S = 1.0
"""How much later than the loss of its channel the report of a worker's end may come."""

_EARLY_DEATHS = 3
"""So many workers of an environment may die in a row before one is ready; then its tasks fail."""

logger = logging.getLogger(__name__)


class WorkerDesk:
    """Part of the node manager; on its loop."""

    def __init__(self, manager: "NodeManager", workers: WorkerTable, environments: EnvironmentDesk) -> None:
        self._manager = manager
        self._workers = workers
        self._environments = environments
        self._early_deaths: dict[bytes, int] = {}
        self._preparing: dict[int, asyncio.Task[None]] = {}
        manager.methods |= {
            "WorkerReady": self._on_ready,
            "WorkerUnfit": self._on_unfit,
            "WorkerBlocked": self._on_blocked,
            "WorkerLeaving": self._on_leaving,
            "DescribeDeath": self._on_describe_death,
        }

    def start(self, order: m.StartWorker) -> None:
        """Start a worker, with all that its environment needs at hand."""
        self._preparing[order.start_id] = self._manager.spawn(self._start(order))

    def cancel_start(self, order: m.CancelStart) -> None:
        """Wait for a worker's environment no longer: where nobody else does, it is not made."""
        preparing = self._preparing.pop(order.start_id, None)
        if preparing is not None:
            preparing.cancel()

    async def _start(self, order: m.StartWorker) -> None:
        try:
            prepared = await self._environments.prepare(order.env_key)
        except RuntimeEnvSetupError as error:
            if not self._manager.closing:
                self._manager.feed(m.WorkerStartFailed(order.start_id, str(error), environment=True))
            return
        finally:
            self._preparing.pop(order.start_id, None)
        if order.env_key:
            self._manager.feed(m.WorkerPrepared(order.start_id))
        driver = await self._driver(order.job_id) if prepared.definition else None
        try:
            worker = await self._workers.start(
                order.start_id,
                order.env_key,
                prepared,
                driver.folder if driver else "",
                driver.search_path if driver else (),
            )
        except (OSError, SpawnerLostError, RuntimeEnvSetupError) as error:
            self._environments.release(prepared)
            if not self._manager.closing:
                logger.warning("A worker could not be started: %s", error)
                unfit = isinstance(error, RuntimeEnvSetupError)
                self._manager.feed(m.WorkerStartFailed(order.start_id, str(error), environment=unfit))
            return
        if prepared.patience is not None:
            asyncio.get_running_loop().call_later(prepared.patience, self._too_late, worker)

    async def _driver(self, job_id: bytes) -> RegisterDriver | None:
        found: asyncio.Future[RegisterDriver | None] = asyncio.get_running_loop().create_future()

        def described(driver: RegisterDriver | None) -> None:
            if not found.done():
                found.set_result(driver)

        self._manager.jobs.find(job_id, described)
        return await found

    def _too_late(self, worker: Worker) -> None:
        """A worker that sets its environment up has had its time."""
        if worker.start_id and not worker.ended and not self._manager.closing:
            self._unfit(
                worker,
                f"A new worker was not ready {worker.prepared.patience:g} s after its start: its "
                "worker_process_setup_hook, if it has one, may hang; see setup_timeout_seconds.",
            )

    def stop(self, order: m.StopWorker) -> None:
        """End a worker."""
        worker = self._workers.find(order.worker_id)
        if worker is not None:
            removed = order.reason == m.GROUP_REMOVED
            self._workers.kill(worker, DeathKind.GROUP_REMOVED if removed else DeathKind.KILLED, order.reason)

    def ended(self, worker: Worker, cause: DeathCause) -> None:
        """A worker process is gone."""
        if worker.start_id:
            self._died_early(worker, cause)
        else:
            self._manager.feed(m.WorkerLost(worker.worker_id, cause.summary()))
        self._environments.release(worker.prepared)
        self._manager.forget_caller(worker.worker_id)
        self._manager.spawn(self._workers.finish_output(worker))

    def _died_early(self, worker: Worker, cause: DeathCause) -> None:
        """A worker died before it was ready. If those of one environment do so time and again, it is to blame."""
        definition = worker.prepared.definition
        if definition:
            self._early_deaths[definition] = self._early_deaths.get(definition, 0) + 1
        if self._early_deaths.get(definition, 0) < _EARLY_DEATHS:
            self._manager.feed(m.WorkerStartFailed(worker.start_id, cause.render()))
            return
        del self._early_deaths[definition]
        text = f"{_EARLY_DEATHS} new workers died while they set their runtime environment up; the last: "
        self._manager.feed(m.WorkerStartFailed(worker.start_id, text + cause.render(), environment=True))

    def out_of_reach(self, process_id: str, error: str) -> bool:
        """The channel to a process is gone for good; False where it is no worker's.

        Mostly it has ended, and why will be known in a moment: the report must not be spoilt by a guess.
        """
        worker = self._workers.find(process_id)
        if worker is None:
            return False
        if not worker.leaving:
            asyncio.get_running_loop().call_later(_EXIT_REPORT_S, self._cut_off, worker, error)
        return True

    def _cut_off(self, worker: Worker, error: str) -> None:
        """A worker was out of reach: if its process still runs, nobody can use it."""
        if not worker.ended and not worker.leaving and not self._manager.closing:
            self._workers.kill(worker, DeathKind.UNREACHABLE, f"its connection to the node manager was lost: {error}")

    def _on_ready(self, channel: Channel, call: Call) -> None:
        ready: WorkerReady = decoder_of(WorkerReady).decode(call.body)
        worker = self._workers.find(ready.process_id)
        if worker is None:
            return
        worker.address, worker.channel = ready.address, channel
        self._early_deaths.pop(worker.prepared.definition, None)
        start_id, worker.start_id = worker.start_id, 0
        self._manager.feed(m.WorkerStarted(start_id, worker.worker_id))

    def _on_unfit(self, channel: Channel, call: Call) -> None:
        unfit: WorkerUnfit = decoder_of(WorkerUnfit).decode(call.body)
        worker = self._workers.find(channel.peer.process_id)
        if worker is None:
            return
        self._unfit(worker, unfit.reason)

    def _unfit(self, worker: Worker, reason: str) -> None:
        start_id, worker.start_id = worker.start_id, 0
        self._manager.feed(m.WorkerStartFailed(start_id, reason, environment=True))
        self._workers.kill(worker, DeathKind.ENVIRONMENT_FAILED, reason)

    def _on_blocked(self, channel: Channel, call: Call) -> None:
        blocked: WorkerBlocked = decoder_of(WorkerBlocked).decode(call.body)
        worker = self._workers.find(channel.peer.process_id)
        if worker is None or worker.lease_id is None:
            return
        worker.sequence += 1
        event = m.WorkerBlocked if blocked.blocked else m.WorkerUnblocked
        self._manager.feed(event(worker.lease_id, worker.sequence))

    def _on_leaving(self, channel: Channel, call: Call) -> None:
        leaving: WorkerLeaving = decoder_of(WorkerLeaving).decode(call.body)
        worker = self._workers.find(channel.peer.process_id)
        if worker is not None:
            worker.leaving = leaving.reason

    def _on_describe_death(self, channel: Channel, call: Call) -> None:
        question: DescribeDeath = decoder_of(DescribeDeath).decode(call.body)

        def known(cause: DeathCause | None) -> None:
            channel.reply(call.call_id, msgspec.msgpack.encode(cause) if cause is not None else b"")

        self._workers.cause_of(question.process_id, known)
