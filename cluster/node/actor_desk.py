"""A node's dealings with actors: constructs them in workers, on the head's order, and hosts the light ones."""

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from ...actors.contract import (
    EXECUTOR,
    HEAD,
    Creation,
    DropActor,
    EndActor,
    LeaseSpec,
    Outcome,
    RegisterDriver,
    decoder_of,
    encode,
)
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call, Reply
from ..cluster_message import ActorStarted, ReleaseLightWorker, RequestLightWorker, StartActor, TerminateActor
from ..scheduling import lease_message as m
from ..scheduling.lease_terms import lease_spec
from ..scheduling.strategy import HYBRID, InBundle
from ..system_process import SystemProcess
from .worker_table import Worker

if TYPE_CHECKING:
    from .manager import NodeManager

logger = logging.getLogger(__name__)

_HOST_PATIENCE = 60.0

_EMPTY_S = 5.0
"""How long the host processes of a job are kept without an actor in them: the next ones may be on their way."""


class _Hosts:
    """The host processes of one job's light actors in one environment.

    Attributes:
        load: actors by host (a worker's id).
        names: by host, the request that got it.
        requested: requests for hosts that are not answered.
        waiting: requests of actors that wait for a host.
        placed: how many actors were placed so far.
    """

    def __init__(self) -> None:
        self.load: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.requested: set[str] = set()
        self.waiting: list[str] = []
        self.placed = 0

    def are_empty(self) -> bool:
        """No actor is in them, or on its way there."""
        return not (self.waiting or self.requested or any(self.load.values()))


class NodeActorDesk:
    """Part of the node manager; on its loop."""

    def __init__(self, process: SystemProcess, head: ProcessAddress, manager: "NodeManager", hosts: int) -> None:
        self._process = process
        self._head = head
        self._manager = manager
        self._most_hosts = hosts
        self._light: dict[tuple[bytes, str], _Hosts] = {}
        self._placed: dict[str, tuple[_Hosts, str]] = {}
        self._residents: dict[str, set[str]] = {}
        self._next_host = 0
        self._ended_jobs: set[bytes] = set()
        self._host_requests: dict[str, _Hosts] = {}
        manager.methods |= {
            "StartActor": self._on_start,
            "TerminateActor": self._on_terminate,
            "RequestLightWorker": self._on_request_light,
            "ReleaseLightWorker": self._on_release_light,
        }

    # --- construction ---

    def _on_start(self, _: Channel, call: Call) -> None:
        order: StartActor = decoder_of(StartActor).decode(call.body)
        worker = self._manager.workers.find(order.worker_id)
        if worker is None or worker.channel is None:
            return  # its end has been, or will be, told to the head
        bundle = InBundle(order.group_id, capture=order.capture) if order.group_id else HYBRID

        def described(driver: RegisterDriver | None) -> None:
            about = self._manager.assignment(order.job_id, driver, order.held, order.devices, bundle)
            about = msgspec.structs.replace(about, namespace=order.namespace, incarnation=order.incarnation)
            self._manager.assign(worker, about, lambda: self._construct(order, worker))

        self._manager.jobs.find(order.job_id, described)

    def _construct(self, order: StartActor, worker: Worker) -> None:
        channel, address = worker.channel, worker.address
        if channel is None or address is None:
            return
        incarnation, known = worker.constructed.get(order.actor_id, (-1, None))
        if incarnation == order.incarnation:  # a head that was restarted says it again
            if known is not None:
                self._process.notify(self._head, HEAD, known)
            return
        worker.constructed[order.actor_id] = (order.incarnation, None)

        def constructed(reply: Reply | TransportError) -> None:
            if isinstance(reply, TransportError):
                return  # the worker's end is told to the head
            outcome: Outcome = decoder_of(Outcome).decode(reply.body)
            started = ActorStarted(
                order.actor_id,
                order.incarnation,
                address if outcome.status == "ok" else None,
                b"" if outcome.status == "ok" else outcome.returns[0].data,
            )
            if worker.constructed.get(order.actor_id) == (order.incarnation, None):  # else it was dropped meanwhile
                worker.constructed[order.actor_id] = (order.incarnation, started)
            self._process.notify(self._head, HEAD, started)

        creation: Creation = decoder_of(Creation).decode(order.creation)
        channel.notify(EXECUTOR, "Template", creation.template)
        channel.call(EXECUTOR, "Invocation", creation.invocation, constructed)

    def _on_terminate(self, _: Channel, call: Call) -> None:
        order: TerminateActor = decoder_of(TerminateActor).decode(call.body)
        worker = self._manager.workers.find(order.worker_id)
        if worker is not None and worker.channel is not None:
            worker.channel.notify(EXECUTOR, "EndActor", encode(EndActor(order.actor_id)))

    # --- light actors ---

    def _on_request_light(self, _: Channel, call: Call) -> None:
        request: RequestLightWorker = decoder_of(RequestLightWorker).decode(call.body)
        if placed := self._placed.get(request.request_id):
            self._manager.to_head(m.WorkerGranted(request.request_id, 0, placed[1], {}))
            return
        if any(request.request_id in known.waiting for known in self._light.values()):
            return
        hosts = self._light.setdefault((request.job_id, request.environment), _Hosts())
        wanted = self._most_hosts - len(hosts.load) - len(hosts.requested)
        hosts.waiting.append(request.request_id)  # first: an idle worker is granted before `_start_host` returns
        if wanted > 0:
            self._start_host(hosts, request)
        self._place_waiting(hosts)

    def _start_host(self, hosts: _Hosts, request: RequestLightWorker) -> None:
        self._next_host += 1
        name = f"light-host:{self._next_host}"
        hosts.requested.add(name)
        self._host_requests[name] = hosts
        spec = lease_spec(LeaseSpec({}, {}, {}, request.environment, request.job_id, retriable=False))
        self._manager.feed(m.RequestWorker(name, spec, _HOST_PATIENCE))

    def _place_waiting(self, hosts: _Hosts) -> None:
        """Spread what waits over the hosts, once all of them are there."""
        if hosts.load and not hosts.requested:
            waiting, hosts.waiting = hosts.waiting, []
            for request_id in waiting:
                self._place(hosts, request_id)

    def _place(self, hosts: _Hosts, request_id: str) -> None:
        worker_id = min(hosts.load, key=hosts.load.__getitem__)
        hosts.load[worker_id] += 1
        hosts.placed += 1
        self._placed[request_id] = (hosts, worker_id)
        self._residents.setdefault(worker_id, set()).add(request_id)
        self._manager.to_head(m.WorkerGranted(request_id, 0, worker_id, {}))

    def answered(self, answer: m.WorkerGranted | m.WorkerRefused | m.RequestedWorkerLost) -> bool:
        """The lease machine's answer about a host process; False where it is about something else."""
        hosts = self._host_requests.get(answer.request_id)
        if hosts is None:
            return False
        hosts.requested.discard(answer.request_id)
        match answer:
            case m.WorkerGranted():
                hosts.load[answer.worker_id] = 0
                hosts.names[answer.worker_id] = answer.request_id
            case m.WorkerRefused():
                del self._host_requests[answer.request_id]
                if not hosts.load and not hosts.requested:
                    for request_id in hosts.waiting:
                        self._manager.to_head(m.WorkerRefused(request_id, answer.text, answer.permanent))
                    hosts.waiting.clear()
            case m.RequestedWorkerLost():
                del self._host_requests[answer.request_id]
                hosts.load.pop(answer.worker_id, None)
                hosts.names.pop(answer.worker_id, None)
                for request_id in self._residents.pop(answer.worker_id, ()):
                    self._placed.pop(request_id, None)
                    self._manager.to_head(m.RequestedWorkerLost(request_id, answer.worker_id, answer.text))
        self._place_waiting(hosts)
        return True

    def held(self, request_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Of these requests, those that the head has made, and those of the light actors that live here."""
        return (*(name for name in request_ids if name not in self._host_requests), *self._placed)

    def _on_release_light(self, _: Channel, call: Call) -> None:
        release: ReleaseLightWorker = decoder_of(ReleaseLightWorker).decode(call.body)
        placed = self._placed.pop(release.request_id, None)
        if placed is None:
            for hosts in self._light.values():
                if release.request_id in hosts.waiting:
                    hosts.waiting.remove(release.request_id)
            return
        hosts, worker_id = placed
        if worker_id in hosts.load:
            hosts.load[worker_id] -= 1
        self._residents.get(worker_id, set()).discard(release.request_id)
        worker = self._manager.workers.find(worker_id)
        if worker is not None and worker.channel is not None:
            actor_id = bytes.fromhex(release.request_id.partition(":")[0])
            worker.constructed.pop(actor_id, None)
            worker.channel.notify(EXECUTOR, "DropActor", encode(DropActor(actor_id)))
        self._release_idle()
        if hosts.are_empty():
            asyncio.get_running_loop().call_later(_EMPTY_S, self._release_empty, hosts, hosts.placed)

    def _release_empty(self, hosts: _Hosts, placed: int) -> None:
        """End hosts that have been empty all the time since `placed` actors had been placed."""
        if self._manager.closing or hosts.placed != placed or not hosts.are_empty():
            return
        for key in [key for key, known in self._light.items() if known is hosts]:
            self._release(key)

    def job_ended(self, job_id: bytes) -> None:
        """A job is over: its hosts end when the last actor in them has."""
        self._ended_jobs.update(key[0] for key in self._light if key[0] == job_id)
        self._release_idle()

    def _release_idle(self) -> None:
        for key, hosts in [item for item in self._light.items() if item[0][0] in self._ended_jobs]:
            if hosts.are_empty():
                self._release(key)
        self._ended_jobs &= {key[0] for key in self._light}

    def _release(self, key: tuple[bytes, str]) -> None:
        for name in self._light.pop(key).names.values():
            self._host_requests.pop(name, None)
            self._manager.feed(m.ReleaseWorker(name))
