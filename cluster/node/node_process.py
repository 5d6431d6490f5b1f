"""The process of a node: its node manager and, on the head's machine, the head."""

import asyncio
import logging
import secrets
import signal
from pathlib import Path

import msgspec

from ...actors.contract import DriverRegistered, WorkerConfig
from ...exceptions import DeathCause
from ...transport.endpoint import Endpoint, inlet_beside
from ...transport.shm.arena import Arena
from ..cluster_message import RegisterNode
from ..environment.environment_store import cache_folder
from ..environment.shelf import make_shelf
from ..environment.workshop import WORKER, Workshop
from ..head.head import Head
from ..host_id import host_id
from ..process.birth import NodeBirth
from ..process.ending import Ending
from ..process.log_batch import LogBatch
from ..process.spawn import Spawner
from ..process.spawner_set import SpawnerSet
from ..scheduling.lease import LeaseConfig, LeaseMachine
from ..scheduling.worker_pool import PoolConfig
from ..session_folder import SessionFolder
from ..session_info import read_info, read_token
from ..store.spill_storage import SpillStorage, open_spill_storage
from ..store.store import ObjectStore
from ..system_process import SystemProcess
from .environment_desk import EnvironmentDesk
from .head_check import about_this_process
from .head_link import HeadLink
from .inventory import take_inventory
from .manager import NodeManager
from .memory_watch import MemoryWatch
from .node_config import NodeConfig, NodeReady
from .object_source import ObjectSource
from .package_desk import PackageDesk
from .residents import Residents
from .setting import NodeSettings
from .store_desk import StoreDesk
from .worker_table import Worker, WorkerTable

WORKER_MAIN = f"{WORKER}:main"

logger = logging.getLogger(__name__)

_MOST_PRESTARTED = 4

_ENDING_S = 14.0
"""After which a node that has not ended says in its log where it is: a little before `cluster stop` gives up."""

_GRANT_S = 30.0
"""How long a request for memory may wait while memory comes free, but not enough for it."""


async def run_node(config: NodeConfig, folder: SessionFolder, spawner: Spawner, birth: NodeBirth) -> bool:
    """Start a node, tell the driver, serve until the driver is gone or a signal comes, and end everything.

    Returns whether it was given up by a cluster that it may join again, with nothing of what it had.
    """
    node = NodeProcess(config, folder, spawner)
    watch = birth.watch_driver(node.ended.set)
    try:
        ready = await _start(node, patient=not birth.is_awaited)
        if ready is not None:
            birth.ready(msgspec.msgpack.encode(ready))
            await node.ended.wait()
    finally:
        ending = Ending(_ENDING_S, cut=False)
        await node.close(ending)
        if watch is not None:
            watch.close()
        logger.info("ended in %.3f s", ending.seconds)
        ending.done()
    return node.expelled


async def _start(node: "NodeProcess", *, patient: bool) -> NodeReady | None:
    """Start a node; None where it was told to end before it had found its head."""
    starting = asyncio.ensure_future(node.start(patient=patient))
    ended = asyncio.ensure_future(node.ended.wait())
    await asyncio.wait({starting, ended}, return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if starting.done():
        return starting.result()
    starting.cancel()
    await asyncio.wait({starting})
    return None


class NodeProcess:
    """Builds a node's actors and ends them. On the running loop.

    Attributes:
        ended: set when the node is to end.
        expelled: the cluster has given the node up.
    """

    def __init__(self, config: NodeConfig, folder: SessionFolder, spawner: Spawner) -> None:
        self._config = config
        self._folder = folder
        self._spawners = SpawnerSet(spawner, WORKER_MAIN, folder.logs, self._shelf)
        self._host_id = host_id()
        self._node_id = secrets.token_bytes(28)
        if config.token:
            folder.write_token(config.token)
        self._token = config.token or read_token(folder.path)
        self._settings = NodeSettings.read(config.system_config)
        self._manager: NodeManager | None = None
        self._head: Head | None = None
        self.ended = asyncio.Event()
        self.expelled = False

    async def start(self, *, patient: bool = False) -> NodeReady:
        """Start the actors.

        Args:
            patient: wait for the head, however long it is away.

        Raises:
            TransportError: it cannot listen.
            ValueError, TypeError: the config makes no sense.
        """
        config = self._config
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.ended.set)
        self._process = process = SystemProcess()
        self._store = self._build_store()
        self._source = ObjectSource(self._store)
        endpoint = Endpoint(
            process_id=secrets.token_hex(16),
            host_id=self._host_id,
            token=bytes.fromhex(self._token),
            unix_path=self._folder.socket_path("node"),
            tcp=config.tcp,
            tls=config.tls,
            inlet_of=self._inlet_of,
            info=about_this_process("node", self._folder.name, is_head=config.head is None),
            handler=process,
            bulk=self._source,
        )
        await process.start(endpoint)
        if config.head is None:
            self._head = Head(process)
            process.actors["head"] = self._head
        head = config.head or process.address
        self._link = link = HeadLink(
            process,
            head,
            self._node_id,
            any_python=config.any_python,
            patience=self._settings.gcs_server_request_timeout_seconds,
        )
        try:
            await (link.find() if patient else link.greet())
        except BaseException:
            await process.close()
            await self._store.close()
            raise
        if link.relay is not None:
            process.actors["head"] = link.relay
        self._manager = manager = self._build_manager(link)
        process.actors["node"] = manager
        units = self._inventory.resources.units()
        labels = self._inventory.labels
        registration = RegisterNode(self._node_id, process.address, config.host, units, labels, config.name)
        await link.join(registration, manager.begin)
        self._memory_watch.start()
        self._announce()
        return NodeReady(
            self._node_id,
            process.address,
            self._host_id,
            str(self._folder.path),
            self._token,
            config.tls,
            link.warnings,
            self._inventory.resources.floats(),
        )

    def _inlet_of(self, process_id: str) -> str:
        """Where a worker or driver of this host takes connections from others."""
        named = process_id.isalnum() and process_id.isascii()
        return inlet_beside(self._folder.socket_path(process_id[:12])) if named else ""

    def _announce(self) -> None:
        """Have others on this machine find the session by the cluster's address."""
        head, address = self._config.head, self._link.cluster
        if head is None or not head.process_id:
            self._folder.make_current()
        else:
            address = ""  # one of several nodes on this machine: drivers join the first of them
        info = read_info(self._folder.path)
        if info is not None:
            kind = "node" if head is not None and not head.process_id else "session"
            told = msgspec.structs.replace(info, address=address, node=self._process.address, kind=kind)
            self._folder.write_info(msgspec.structs.replace(told, tls=self._config.tls))

    def _build_store(self) -> ObjectStore:
        self._inventory = inventory = take_inventory(self._config, self._config.host, self._node_id.hex())
        arena = Arena.create(inventory.store_bytes)
        storage = self._spilling()
        return ObjectStore(
            arena,
            inventory.store_bytes,
            storage,
            self._ask_return,
            grant_timeout=max(_GRANT_S, self._settings.oom_grace_period_s),
            grace=self._settings.oom_grace_period_s,
            name_of=lambda process_id: self._residents().name_of(process_id),
            readers=lambda arena: self._residents().readers(arena),
        )

    def _spilling(self) -> SpillStorage:
        """Where objects go that find no room in memory."""
        base = self._config.spilling
        own = f"limelight-{self._folder.name}-{self._node_id.hex()[:12]}"
        return open_spill_storage(f"{base.rstrip('/')}/{own}" if base else str(self._folder.path / "spill"))

    def _build_manager(self, link: HeadLink) -> NodeManager:
        config, process, node_id, inventory = self._config, self._process, self._node_id, self._inventory
        session = config.session or link.session or self._folder.name
        head = process.address  # it has the actor "head": the head itself, or what passes on to it
        arena_location = msgspec.msgpack.encode(self._store.arena.location)
        self._desk = StoreDesk(process, self._store, self._source, node_id, link.peers.address_of)
        base = WorkerConfig(
            process_id="",
            host_id=self._host_id,
            node_id=node_id,
            token=bytes.fromhex(self._token),
            socket="",
            node=process.address,
            cluster=link.cluster,
            arena=arena_location,
            session=session,
            session_folder=str(self._folder.path),
            labels=inventory.labels,
            environment="",
            definition=b"",
            packages={},
            preset=[],
            folder="",
            search_path=[],
            gate=process.address.tcp,
            tls=config.tls,
        )
        self._workers = WorkerTable(
            self._spawners,
            base,
            self._folder.path,
            self._show,
            self._worker_ended,
        )
        cpus = max(1, int(inventory.resources.floats().get("CPU", 1)))
        prestart = min(cpus, _MOST_PRESTARTED) if config.prestart is None else config.prestart
        pool = PoolConfig(prestart=prestart, spares=prestart, max_starting=max(2, cpus))
        machine = LeaseMachine(node_id.hex(), inventory.resources, inventory.labels, LeaseConfig(pool=pool))
        self._memory_watch = MemoryWatch(self._workers, machine.book, self._settings)
        folder = str(self._folder.path)
        about = DriverRegistered(node_id, link.cluster, arena_location, session, folder, inventory.labels)
        quota = int(self._settings.runtime_env_packages_bytes)
        packages = PackageDesk(process, self._folder.path / "packages", quota, link.peers.all)
        workshop = Workshop(
            session,
            self._folder.logs,
            self._shelf,
            cache_folder() / "runtime-env",
            int(self._settings.runtime_env_cache_bytes),
        )
        self._environments = EnvironmentDesk(
            process, head, packages, workshop, self._spawners, self._settings.runtime_env_idle_s
        )
        manager = NodeManager(
            process, machine, self._workers, self._desk, self._environments, link, about, inventory.devices
        )
        link.attach(manager, self._expelled, self._announce)
        return manager

    def _shelf(self) -> Path:
        """What foreign interpreters need, made when the first one comes."""
        return make_shelf(self._folder.path / "shelf")

    def _ask_return(self, process_id: str, grant: int) -> None:
        self._desk.ask_return(process_id, grant)

    async def _show(self, batch: LogBatch) -> None:
        await self._manager_().output.show(batch)

    def _worker_ended(self, worker: Worker, cause: DeathCause) -> None:
        self._manager_().worker_desk.ended(worker, cause)

    def _residents(self) -> Residents:
        return self._manager_().residents

    def _expelled(self, reason: str, over: bool) -> None:
        if self.ended.is_set():
            return  # it ends for a reason of its own
        logger.error("this node ends: %s", reason)
        self.expelled = not over and self._config.head is not None and not self._config.head.process_id
        self.ended.set()

    def _manager_(self) -> NodeManager:
        if self._manager is None:
            raise RuntimeError("the node has not started")
        return self._manager

    async def close(self, ending: Ending) -> None:
        """End workers and actors, and let go of everything, as steps of an ending."""
        if self._manager is None:
            return
        self._link.close()
        self._memory_watch.close()
        self._manager.close()
        if self._head is not None:
            self._head.close()
        workers = self._workers.all()
        await ending.step("its workers are ended", self._spawners.close())
        outputs = asyncio.gather(*(self._workers.finish_output(worker) for worker in workers))
        await ending.step("what its workers have printed is passed on", outputs)
        await ending.step("its environments are left", self._environments.close())
        self._link.leave("it was stopped")
        await ending.step("objects that are on their way are left", self._desk.close())
        await ending.step("its object store is closed", self._store.close())
        await ending.step("its connections are closed", self._process.close())
