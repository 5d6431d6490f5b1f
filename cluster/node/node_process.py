"""The process of a node: its node manager and, on the head's machine, the head."""

import asyncio
import logging
import secrets
import signal
from pathlib import Path

import msgspec

from ...actors.contract import DriverRegistered, WorkerConfig
from ...transport.address import ProcessAddress
from ...transport.endpoint import Endpoint
from ...transport.shm.arena import Arena
from ..cluster_message import RegisterNode
from ..head.head import Head
from ..process.spawn import Spawner
from ..process.watch import ProcessWatch
from ..scheduling.lease import LeaseConfig, LeaseMachine
from ..scheduling.resources import ResourceSet
from ..scheduling.worker_pool import PoolConfig
from ..store.store import ObjectStore
from ..system_process import SystemProcess
from .head_link import HeadLink
from .manager import NodeManager
from .node_config import NodeConfig
from .store_desk import StoreDesk
from .worker_table import WorkerTable

logger = logging.getLogger(__name__)


class NodeProcess:
    """Builds a node's actors and ends them. On the running loop."""

    def __init__(self, config: NodeConfig, spawner: Spawner) -> None:
        self._config = config
        self._spawner = spawner
        self.ended = asyncio.Event()

    async def start(self) -> ProcessAddress:
        """Start the actors; returns where the process listens.

        Raises:
            TransportError: it cannot listen.
        """
        config = self._config
        self._process = process = SystemProcess()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.ended.set)
        endpoint = Endpoint(
            process_id=secrets.token_hex(16),
            host_id=config.host_id,
            token=config.token,
            unix_path=str(Path(config.folder) / "sockets" / "node"),
            tcp=config.tcp,
            info={"kind": "node"},
            handler=process,
        )
        await process.start(endpoint)
        self._head = Head(process) if config.head is None else None
        head = config.head or process.address
        if self._head is not None:
            process.actors["head"] = self._head
        self._manager = self._build_manager(head)
        process.actors["node"] = self._manager
        self._manager.begin()
        self._watch = (
            ProcessWatch(config.owner_pid, self.ended.set, config.owner_identity or None) if config.owner_pid else None
        )
        return process.address

    def _build_manager(self, head: ProcessAddress) -> NodeManager:
        config, process = self._config, self._process
        folder = Path(config.folder)
        self._arena = Arena.create(config.object_store_memory)
        arena = msgspec.msgpack.encode(self._arena.location)
        self._store = ObjectStore(self._arena, folder / "spill")
        base = WorkerConfig(
            process_id="",
            host_id=config.host_id,
            node_id=config.node_id,
            token=config.token,
            socket="",
            node=process.address,
            head=head,
            arena=arena,
            session=config.session,
            session_folder=config.folder,
            labels=config.labels,
            environment="",
            packages={},
        )
        self._workers = WorkerTable(
            self._spawner,
            base,
            folder,
            lambda batch: self._manager.show(batch),
            lambda worker, cause: self._manager.worker_ended(worker, cause),
        )
        cpus = config.resources.get("CPU", 0) // 10_000
        pool = PoolConfig(prestart=min(cpus, config.prestart), max_starting=max(2, cpus))
        machine = LeaseMachine(
            config.node_id.hex(), ResourceSet.of_units(config.resources), config.labels, LeaseConfig(pool=pool)
        )
        link = HeadLink(process, head, config.node_id)
        about = DriverRegistered(config.node_id, head, arena, config.session, config.folder, config.labels)
        manager = NodeManager(
            process, machine, self._workers, StoreDesk(process, self._store, config.node_id), link, about
        )
        registration = RegisterNode(config.node_id, process.address, config.host, config.resources, config.labels)
        link.attach(manager, registration)
        return manager

    async def run(self) -> None:
        """Serve until told to end, or until the process that owns this session has died."""
        await self.ended.wait()

    async def close(self) -> None:
        """End workers and actors, and let go of everything."""
        self._manager.close()
        if self._head is not None:
            self._head.close()
        if self._watch is not None:
            self._watch.cancel()
        await self._spawner.close()
        await asyncio.gather(*(self._workers.finish_output(worker) for worker in self._workers.all()))
        await self._store.close()
        await self._process.close()
        self._arena.close()
