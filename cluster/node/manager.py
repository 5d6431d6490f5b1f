"""The node manager: the actor "node". Grants leases, runs workers, keeps the store, forwards output."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...actors.accelerator import assigned_devices
from ...actors.contract import (
    CORE,
    AssignWorker,
    Demand,
    DriverRegistered,
    LeaseGranted,
    LeaseInfeasible,
    LeaseRedirected,
    ReclaimLease,
    RegisterDriver,
    ReturnLease,
    decoder_of,
    encode,
)
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call, Reply
from ..alarm import Alarm
from ..cluster_message import ToHead
from ..scheduling import lease_message as m
from ..scheduling.lease_terms import lease_spec
from ..scheduling.strategy import InBundle, Strategy
from ..system_process import SystemActor, SystemProcess
from .actor_desk import NodeActorDesk
from .drain_desk import DrainDesk
from .environment_desk import EnvironmentDesk
from .job_table import JobTable
from .log_desk import LogDesk
from .output_desk import OutputDesk
from .residents import Residents
from .store_desk import StoreDesk
from .timeline_desk import TimelineDesk
from .worker_desk import WorkerDesk
from .worker_table import Worker, WorkerTable

if TYPE_CHECKING:
    from ..scheduling.lease import LeaseMachine
    from .head_link import HeadLink


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
        self.jobs = JobTable(process, process.address)
        self.residents = Residents(process, workers, self.jobs, about.node_id)
        self._devices = devices
        self._alarm = Alarm(self._loop, machine.wake_at, lambda: self.feed(m.Tick()))
        self.closing = False
        self.methods = {
            "RegisterDriver": self._on_register_driver,
            "Demand": self._on_demand,
            "ReturnLease": self._on_return_lease,
            **store.methods,
            **environments.methods,
            **TimelineDesk(process, workers.channels, head.peers.all).methods,
        }
        self.worker_desk = WorkerDesk(self, workers, environments)
        self.output = OutputDesk(self, process, workers, self.jobs, head)
        self.drain = DrainDesk(process, self, machine, workers, store, head)
        self.logs = LogDesk(self, Path(about.session_folder) / "logs")
        self.actors = NodeActorDesk(process, process.address, self, max(1, machine.ledger.total.get("CPU") // 10_000))

    def begin(self) -> None:
        """Start prestarting workers and reporting."""
        self.feed(m.Tick())

    # --- the machine ---

    def feed(self, event: m.LeaseEvent) -> None:
        """Give the machine an event and do what it says."""
        for command in self._machine.handle(event, self._loop.time()):
            self._execute(command)
        self._alarm.set()
        if self._machine.draining:
            self.drain.look()

    def _execute(self, command: m.LeaseCommand) -> None:  # noqa: C901, PLR0912 - one line for each command
        match command:
            case m.Grant():
                self._grant(command)
            case m.StartWorker():
                self.worker_desk.start(command)
            case m.CancelStart():
                self.worker_desk.cancel_start(command)
            case m.StopWorker():
                self.worker_desk.stop(command)
            case m.Reclaim():
                self._tell(command.caller, ReclaimLease(self._name(command.lease_id)))
            case m.Redirect():
                node = self._head.peers.last_address_of(command.node_id)
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
                    worker.lease_id, worker.sequence, worker.runs_tasks = command.lease_id, 0, False
                if not self.actors.answered(command):
                    self.to_head(command)
            case m.WorkersHeld():
                self.to_head(m.WorkersHeld(self.actors.held(command.request_ids), command.group_ids, self.jobs.known()))
            case _:
                self.to_head(command)

    def to_head(self, command: ToHead) -> None:
        """Tell the head."""
        self._head.send(command)

    def _name(self, lease_id: int) -> str:
        return f"{lease_id}@{self._process.address.process_id}"

    def _tell(self, caller: str, body: Any) -> None:
        channel = self._callers.get(caller)
        if channel is not None and channel.error is None:
            self._process.notify(channel.peer, CORE, body)  # it waits for room where the caller takes nothing

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
                tuple(demand.locality),
            )
        )

    def _grant(self, grant: m.Grant) -> None:
        worker = self.workers.find(grant.worker_id)
        lease = self._machine.book.get(grant.lease_id)
        if worker is None or worker.address is None or lease is None:
            self.feed(m.WorkerLost(grant.worker_id, "the worker ended before it was handed over"))
            return
        worker.lease_id, worker.sequence, worker.runs_tasks = grant.lease_id, 0, True
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
            if worker.lease_id != grant.lease_id:  # it was given to another meanwhile
                return
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

    def waiting_callers(self) -> list[str]:
        """The processes whose demand for workers is not met here."""
        return self._machine.waiting_callers

    # --- drivers and callers ---

    def _on_register_driver(self, channel: Channel, call: Call) -> None:
        driver: RegisterDriver = decoder_of(RegisterDriver).decode(call.body)
        self.jobs.add(driver)
        self._head.driver_registered(driver)
        channel.reply(call.call_id, encode(self._about))

    def on_lost(self, channel: Channel, error: TransportError) -> None:
        """A driver, a worker or another node is out of reach for good."""
        process_id = channel.peer.process_id
        if self.closing:
            self.forget_caller(process_id)
            return
        if self.worker_desk.out_of_reach(process_id, str(error)):
            return
        self.forget_caller(process_id)
        for job_id in self.jobs.of_driver(process_id):
            self._head.driver_left(job_id, process_id)
        self._head.process_lost(process_id, str(error))

    def job_ended(self, job_id: bytes) -> None:
        """A job is over, as the head says."""
        self.jobs.ended(job_id)
        self.actors.job_ended(job_id)
        self._environments.job_ended(job_id)

    def on_cancelled(self, channel: Channel, call_id: int) -> None:
        """A reader has given up."""
        self._store.cancelled(channel.peer.process_id, call_id)

    def forget_caller(self, process_id: str) -> None:
        """A process is gone: what it has asked for, and what it had in the store."""
        self._callers.pop(process_id, None)
        self._store.process_lost(process_id)
        self._environments.process_lost(process_id)
        if not self.closing:
            self.feed(m.CallerLost(process_id))

    def node_gone(self, process_id: str) -> None:
        """The cluster has given another node's process up, which this one may not have noticed."""
        self._store.node_gone(process_id)

    def close(self) -> None:
        """Decide nothing more."""
        self.closing = True
        self._alarm.cancel()


def _class_key(key: bytes) -> int:
    return int.from_bytes(key, "big")
