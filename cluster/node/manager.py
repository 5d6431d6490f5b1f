"""The node manager: the actor "node". Grants leases, runs workers, keeps the store, forwards output."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ...actors.accelerator import assigned_devices
from ...actors.contract import (
    CORE,
    NODE,
    AssignWorker,
    Demand,
    DescribeDeath,
    DriverRegistered,
    FlushOutput,
    LeaseGranted,
    LeaseInfeasible,
    LeaseRedirected,
    OutputLines,
    ReclaimLease,
    RegisterDriver,
    ReturnLease,
    WorkerBlocked,
    WorkerLeaving,
    WorkerReady,
    WorkerUnfit,
    decoder_of,
    encode,
)
from ...exceptions import DeathCause, DeathKind
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call, Reply
from ..alarm import Alarm
from ..cluster_message import ToHead
from ..process.log_batch import LogBatch
from ..process.spawn import SpawnerLostError, SpawnError
from ..scheduling import lease_message as m
from ..scheduling.strategy import InBundle, Strategy
from ..system_process import SystemActor, SystemProcess
from .actor_desk import NodeActorDesk
from .environment_desk import EnvironmentDesk
from .job_table import JobTable
from .lease_terms import lease_spec
from .store_desk import StoreDesk
from .timeline_desk import TimelineDesk
from .worker_table import Worker, WorkerTable

if TYPE_CHECKING:
    from ..scheduling.lease import LeaseMachine
    from .head_link import HeadLink

_FLUSH_S = 2.0
_SHOW_S = 600.0
"""How long a driver may take to show lines: its user may have stopped the terminal."""

_EXIT_REPORT_S = 1.0
"""How much later than the loss of its channel the report of a worker's end may come."""

logger = logging.getLogger(__name__)


class NodeManager(SystemActor):
    """Executes what the lease machine decides, and feeds it what happens.

    Args:
        process: the process it lives in.
        machine: decides who gets which worker.
        workers: the worker processes.
        store: answers requests about objects.
        environments: has what the workers' environments need at hand.
        head: the way to the head.
        about: what drivers are told of the node.
        devices: names of the node's GPUs.
    """

    name = "node"

    def __init__(
        self,
        process: SystemProcess,
        machine: "LeaseMachine",
        workers: WorkerTable,
        store: StoreDesk,
        environments: EnvironmentDesk,
        head: "HeadLink",
        about: DriverRegistered,
        devices: Sequence[str],
    ) -> None:
        super().__init__(asyncio.get_running_loop())
        self._process = process
        self._machine = machine
        self.workers = workers
        self._store = store
        self._environments = environments
        self._head = head
        self._about = about
        self._callers: dict[str, Channel] = {}
        self.jobs = JobTable(process, about.head)
        self._devices = devices
        self._alarm = Alarm(self._loop, machine.wake_at, lambda: self.feed(m.Tick()))
        self.closing = False
        self.methods = {
            "RegisterDriver": self._on_register_driver,
            "WorkerReady": self._on_worker_ready,
            "WorkerUnfit": self._on_worker_unfit,
            "Demand": self._on_demand,
            "ReturnLease": self._on_return_lease,
            "WorkerBlocked": self._on_worker_blocked,
            "DescribeDeath": self._on_describe_death,
            "WorkerLeaving": self._on_worker_leaving,
            "FlushOutput": self._on_flush_output,
            **store.methods,
            **environments.methods,
            **TimelineDesk(process, self._worker_channels, head.peers).methods,
        }
        self.actors = NodeActorDesk(process, about.head, self, max(1, machine.ledger.total.get("CPU") // 10_000))

    def begin(self) -> None:
        """Start prestarting workers and reporting."""
        self.feed(m.Tick())

    # --- the machine ---

    def feed(self, event: m.LeaseEvent) -> None:
        """Give the machine an event and do what it says."""
        for command in self._machine.handle(event, self._loop.time()):
            self._execute(command)
        self._alarm.set()

    def _execute(self, command: m.LeaseCommand) -> None:  # noqa: C901 - one line for each command
        match command:
            case m.Grant():
                self._grant(command)
            case m.StartWorker():
                self.spawn(self._start_worker(command))
            case m.StopWorker():
                worker = self.workers.find(command.worker_id)
                if worker is not None:
                    removed = command.reason == m.GROUP_REMOVED
                    self.workers.kill(worker, DeathKind.GROUP_REMOVED if removed else DeathKind.KILLED, command.reason)
            case m.Reclaim():
                self._tell(command.caller, ReclaimLease(self._name(command.lease_id)))
            case m.Redirect():
                node = self._head.last_address_of(command.node_id)
                if node is not None:
                    self._tell(command.caller, LeaseRedirected(_class_key(command.class_key), command.total, node))
            case m.Infeasible():
                self._tell(
                    command.caller,
                    LeaseInfeasible(_class_key(command.class_key), command.text, command.fatal, command.kind),
                )
            case m.EnvironmentFailed():
                self._tell(
                    command.caller, LeaseInfeasible(_class_key(command.class_key), command.text, True, "environment")
                )
            case m.LeaseLost():
                pass  # the caller's channel to the worker tells it, and it asks for the cause then
            case m.WorkerGranted() | m.WorkerRefused() | m.RequestedWorkerLost():
                if isinstance(command, m.WorkerGranted) and (worker := self.workers.find(command.worker_id)):
                    worker.lease_id, worker.sequence = command.lease_id, 0
                if not self.actors.answered(command):
                    self.to_head(command)
            case _:
                self.to_head(command)

    def to_head(self, command: ToHead) -> None:
        """Tell the head."""
        self._head.send(command)

    def _name(self, lease_id: int) -> str:
        return f"{lease_id}@{self._process.address.process_id}"

    def _tell(self, caller: str, body: Any) -> None:
        channel = self._callers.get(caller)
        if channel is not None:
            channel.notify(CORE, type(body).__name__, encode(body))

    # --- leases ---

    def _on_demand(self, channel: Channel, call: Call) -> None:
        demand: Demand = decoder_of(Demand).decode(call.body)
        caller = channel.peer.process_id
        self._callers[caller] = channel
        self.feed(
            m.DemandChanged(
                caller,
                demand.class_key.to_bytes(4, "big"),
                lease_spec(demand.spec),
                demand.wanted,
                demand.version,
                demand.placed,
                demand.seen_redirects,
            )
        )

    def _grant(self, grant: m.Grant) -> None:
        worker = self.workers.find(grant.worker_id)
        lease = self._machine.book.get(grant.lease_id)
        if worker is None or worker.address is None or lease is None:
            self.feed(m.WorkerLost(grant.worker_id, "the worker ended before it was handed over"))
            return
        worker.lease_id, worker.sequence = grant.lease_id, 0
        spec = lease.demand.spec
        devices = self.device_names(grant.devices)
        told = LeaseGranted(
            _class_key(grant.class_key),
            self._name(grant.lease_id),
            worker.address,
            self._process.address,
            devices,
        )

        def described(driver: RegisterDriver | None) -> None:
            units = spec.resources.units()
            assignment = self.assignment(spec.job_id, driver, units, grant.devices, spec.strategy)
            self.assign(worker, assignment, lambda: self._tell(grant.caller, told))

        self.jobs.find(spec.job_id, described)

    def assignment(
        self,
        job_id: bytes,
        driver: RegisterDriver | None,
        resources: dict[str, int],
        devices: dict[str, list[int]],
        strategy: Strategy,
    ) -> AssignWorker:
        """What a worker is told of a lease."""
        bundle = strategy if isinstance(strategy, InBundle) else None
        return AssignWorker(
            job_id,
            driver.namespace if driver else "",
            resources,
            self.device_names(devices),
            bundle.group_id if bundle else b"",
            capture=bundle is not None and bundle.capture,
            incarnation=0,
            folder=driver.folder if driver else "",
            search_path=driver.search_path if driver else [],
        )

    def device_names(self, devices: dict[str, list[int]]) -> dict[str, list[str]]:
        """Devices as programs on this node name them."""
        return {
            kind: assigned_devices(self._devices if kind == "GPU" else [], indexes) for kind, indexes in devices.items()
        }

    def assign(self, worker: Worker, assignment: AssignWorker, then: Any) -> None:
        """Tell a worker what it works for, then call `then`; at once where it knows."""
        encoded = encode(assignment)
        if worker.job_id != assignment.job_id:
            self.workers.set_job(worker, assignment.job_id, "worker")
        if worker.assigned == encoded or worker.channel is None:
            then()
            return
        worker.assigned = encoded

        def assigned(reply: Reply | TransportError) -> None:
            if not isinstance(reply, TransportError):
                then()

        worker.channel.call(CORE, "AssignWorker", encoded, assigned)

    def _on_return_lease(self, _: Channel, call: Call) -> None:
        returned: ReturnLease = decoder_of(ReturnLease).decode(call.body)
        lease_id = int(returned.lease_id.partition("@")[0])
        self.feed(m.LeaseReturned(lease_id, returned.worker_ok))

    def _on_worker_blocked(self, channel: Channel, call: Call) -> None:
        blocked: WorkerBlocked = decoder_of(WorkerBlocked).decode(call.body)
        worker = self.workers.find(channel.peer.process_id)
        if worker is None or worker.lease_id is None:
            return
        worker.sequence += 1
        event = m.WorkerBlocked if blocked.blocked else m.WorkerUnblocked
        self.feed(event(worker.lease_id, worker.sequence))

    # --- workers ---

    async def _start_worker(self, order: m.StartWorker) -> None:
        try:
            prepared = await self._environments.prepare(order.env_key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the tasks that need it must hear of it
            self.feed(m.WorkerStartFailed(order.start_id, str(error), environment=True))
            return
        try:
            await self.workers.start(order.start_id, order.env_key, prepared)
        except (SpawnError, SpawnerLostError) as error:
            self._environments.release(prepared.packages)
            if not self.closing:
                logger.warning("A worker could not be started: %s", error)
                self.feed(m.WorkerStartFailed(order.start_id, str(error)))

    def _on_worker_ready(self, channel: Channel, call: Call) -> None:
        ready: WorkerReady = decoder_of(WorkerReady).decode(call.body)
        worker = self.workers.find(ready.process_id)
        if worker is None:
            return
        worker.address, worker.channel = ready.address, channel
        start_id, worker.start_id = worker.start_id, 0
        self.feed(m.WorkerStarted(start_id, worker.worker_id))

    def _on_worker_unfit(self, channel: Channel, call: Call) -> None:
        unfit: WorkerUnfit = decoder_of(WorkerUnfit).decode(call.body)
        worker = self.workers.find(channel.peer.process_id)
        if worker is None:
            return
        start_id, worker.start_id = worker.start_id, 0
        self.feed(m.WorkerStartFailed(start_id, unfit.reason, environment=True))
        self.workers.kill(worker, DeathKind.ENVIRONMENT_FAILED, unfit.reason)

    def _on_worker_leaving(self, channel: Channel, call: Call) -> None:
        leaving: WorkerLeaving = decoder_of(WorkerLeaving).decode(call.body)
        worker = self.workers.find(channel.peer.process_id)
        if worker is not None:
            worker.leaving = leaving.reason

    def _worker_channels(self) -> list[Channel]:
        return [worker.channel for worker in self.workers.all() if worker.channel is not None]

    def worker_ended(self, worker: Worker, cause: DeathCause) -> None:
        """A worker process is gone."""
        if worker.start_id:
            self.feed(m.WorkerStartFailed(worker.start_id, cause.render()))
        else:
            self.feed(m.WorkerLost(worker.worker_id, cause.summary()))
        self._environments.release(worker.packages)
        self._forget_caller(worker.worker_id)
        self.spawn(self.workers.finish_output(worker))

    def _on_describe_death(self, channel: Channel, call: Call) -> None:
        question: DescribeDeath = decoder_of(DescribeDeath).decode(call.body)

        def known(cause: DeathCause | None) -> None:
            channel.reply(call.call_id, msgspec.msgpack.encode(cause) if cause is not None else b"")

        self.workers.cause_of(question.process_id, known)

    # --- drivers and callers ---

    def _on_register_driver(self, channel: Channel, call: Call) -> None:
        driver: RegisterDriver = decoder_of(RegisterDriver).decode(call.body)
        self.jobs.add(driver)
        self._head.driver_registered(driver)
        channel.reply(call.call_id, encode(self._about))

    async def show(self, batch: LogBatch) -> None:
        """Hand lines that a worker printed to the driver of its job."""
        found: asyncio.Future[RegisterDriver | None] = self._loop.create_future()
        self.jobs.find(batch.job_id, found.set_result)
        driver = await found
        if driver is not None and driver.log_to_driver:
            with contextlib.suppress(TransportError):  # the driver is gone; the file has the lines
                lines = OutputLines(msgspec.msgpack.encode(batch))
                await self._process.request(driver.address, CORE, lines, _SHOW_S)

    def _on_flush_output(self, channel: Channel, call: Call) -> None:
        flush: FlushOutput = decoder_of(FlushOutput).decode(call.body)
        self.spawn(self._flush_output(channel, call.call_id, flush.everywhere))

    async def _flush_output(self, channel: Channel, call_id: int, everywhere: bool) -> None:
        here = [self.workers.flush_output()]
        peers = self._head.peers() if everywhere else []
        there = [self._process.request(peer, NODE, FlushOutput(everywhere=False), _FLUSH_S) for peer in peers]
        await asyncio.gather(*here, *there, return_exceptions=True)  # a node that is gone has nothing left to show
        channel.reply(call_id, b"")

    def on_lost(self, channel: Channel, error: TransportError) -> None:
        """A driver, a worker or another node is out of reach for good."""
        process_id = channel.peer.process_id
        worker = self.workers.find(process_id)
        if worker is not None and worker.leaving:
            return
        if worker is not None and not self.closing:
            # Mostly it has ended, and why will be known in a moment: the report must not be spoilt by a guess.
            self._loop.call_later(_EXIT_REPORT_S, self._cut_off, worker, str(error))
            return
        self._forget_caller(process_id)
        if self.closing:
            return
        for job_id in self.jobs.of_driver(process_id):
            self._head.driver_left(job_id, process_id)
        self._head.process_lost(process_id, str(error))

    def _cut_off(self, worker: Worker, error: str) -> None:
        """A worker was out of reach: if its process still runs, nobody can use it."""
        if not worker.ended and not worker.leaving and not self.closing:
            self.workers.kill(worker, DeathKind.UNREACHABLE, f"its connection to the node manager was lost: {error}")

    def _forget_caller(self, process_id: str) -> None:
        self._callers.pop(process_id, None)
        self._store.process_lost(process_id)
        if not self.closing:
            self.feed(m.CallerLost(process_id))

    def close(self) -> None:
        """Decide nothing more."""
        self.closing = True
        self._alarm.cancel()


def _class_key(key: bytes) -> int:
    return int.from_bytes(key, "big")


def new_node_id() -> bytes:
    """A node's id, 28 random bytes."""
    return secrets.token_bytes(28)
