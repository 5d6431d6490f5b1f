"""What a worker process does: connects to its node manager and runs what it is sent."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ..actors import runtime, runtime_env
from ..actors.contract import NODE, EnvironmentDefinition, WorkerConfig, WorkerReady, WorkerUnfit, decoder_of
from ..actors.native import job_setup, standard_stream
from ..actors.native.environment import Environments
from ..actors.native.hub import Hub
from ..actors.native.identity import Identity
from ..actors.native.main_host import MainHost
from ..actors.native.running import Terminated
from ..actors.native.runtime import NativeRuntime
from ..actors.native.store_client import StoreClient
from ..exceptions.trace import format_trace
from ..transport.error import PeerClosedError, TransportError
from .process.spawn import SpawnRequest
from .process.task_stream import announce, finish_lines

logger = logging.getLogger(__name__)


def main(request: SpawnRequest) -> None:
    """Run a worker until it is told to end, or its node manager is gone."""
    _forget_logging()
    config: WorkerConfig = decoder_of(WorkerConfig).decode(request.config)
    problem = _set_up(config)
    identity = Identity(
        process_id=config.process_id,
        host_id=config.host_id,
        token=config.token,
        socket=config.socket,
        node_id=config.node_id,
        node=config.node,
        cluster=config.cluster,
        gate=config.gate,
        tls=config.tls,
        session=config.session,
        session_folder=config.session_folder,
        node_labels=config.labels,
    )
    store = StoreClient()
    hub = Hub(identity, store)
    hub.environments = Environments(hub, config.environment, config.definition)
    hub.runtime_env = dict(hub.environments.own)
    store.attach(hub, config.arena)
    host = MainHost(hub)
    hub.serve(host)
    hub.announce = announce
    hub.finish_lines = finish_lines
    hub.on_node_lost = _leave
    runtime.install(NativeRuntime(hub, close=_nothing))
    signal.signal(signal.SIGTERM, _terminate)
    address = hub.start()
    problem = problem or _run_hook(hub)
    hub.wire.post(_announce, (hub, WorkerUnfit(problem) if problem else WorkerReady(config.process_id, address)))
    try:
        host.run()
    finally:
        standard_stream.flush()
        hub.stop()
        store.close()
    sys.exit(host.exit_code)


def _set_up(config: WorkerConfig) -> str:
    """Make this process what its runtime environment says; returns why that cannot be, or ""."""
    if not config.definition:
        return ""
    definition: EnvironmentDefinition = decoder_of(EnvironmentDefinition).decode(config.definition)
    env = runtime_env.RuntimeEnv.deserialize(definition.env)
    try:
        runtime_env.apply(env, {uri: Path(folder) for uri, folder in config.packages.items()}, config.preset)
    except (OSError, KeyError) as error:
        return f"The runtime environment could not be applied in a new worker: {type(error).__name__}: {error}"
    job_setup.adopt(config.folder, config.search_path, env)
    return ""


def _run_hook(hub: Hub) -> str:
    """Have the environment's hook prepare this process; returns how that failed, or ""."""
    try:
        runtime_env.run_hook(hub.runtime_env)
    except BaseException as error:  # noqa: BLE001 - a user's function, and whatever it raises is told to the caller
        name = hub.runtime_env.get("worker_process_setup_hook")
        return f"The worker_process_setup_hook {name} failed in a new worker:\n{format_trace(error)}"
    return ""


def _forget_logging() -> None:
    """How the node process logs is its own affair: users' code finds `logging` as a fresh interpreter has it."""
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)


def _announce(announcement: tuple[Hub, WorkerReady | WorkerUnfit]) -> None:
    hub, state = announcement
    hub.links.notify(hub.node, NODE, state)


def _leave(error: TransportError) -> None:
    """The node manager is gone, and with it whoever could use this process. From any thread."""
    if isinstance(error, PeerClosedError) and error.by_us:
        return  # this process ends anyway, in its own way
    logger.debug("leaving: %s", error)
    os._exit(0)


def _terminate(_signum: int, _frame: Any) -> None:
    raise Terminated(0)


def _nothing() -> None:
    """A worker's runtime ends with its process."""
