"""What a worker process does: connects to its node manager and runs what it is sent."""

import logging
import os
import signal
import sys
from typing import Any

from ..actors import runtime
from ..actors.contract import NODE, WorkerConfig, WorkerReady, decoder_of
from ..actors.native.environment import Environments
from ..actors.native.hub import Hub
from ..actors.native.identity import Identity
from ..actors.native.main_host import MainHost
from ..actors.native.runtime import NativeRuntime
from ..actors.native.store_client import StoreClient
from ..transport.error import PeerClosedError, TransportError
from .process.spawn import SpawnRequest
from .process.task_stream import announce, finish_lines

logger = logging.getLogger(__name__)


def main(request: SpawnRequest) -> None:
    """Run a worker until it is told to end, or its node manager is gone."""
    config: WorkerConfig = decoder_of(WorkerConfig).decode(request.config)
    identity = Identity(
        process_id=config.process_id,
        host_id=config.host_id,
        token=config.token,
        socket=config.socket,
        node_id=config.node_id,
        node=config.node,
        head=config.head,
        session=config.session,
        session_folder=config.session_folder,
        node_labels=config.labels,
    )
    store = StoreClient()
    hub = Hub(identity, store)
    hub.environments = Environments(hub)
    store.attach(hub, config.arena)
    host = MainHost(hub)
    hub.serve(host)
    hub.announce = announce
    hub.finish_lines = finish_lines
    hub.on_node_lost = _leave
    runtime.install(NativeRuntime(hub, close=_nothing))
    signal.signal(signal.SIGTERM, _terminate)
    address = hub.start()
    hub.wire.post(_announce, (hub, WorkerReady(config.process_id, address)))
    try:
        host.run()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        hub.stop()
        store.close()
    sys.exit(host.exit_code)


def _announce(announcement: tuple[Hub, WorkerReady]) -> None:
    hub, ready = announcement
    hub.links.notify(hub.node, NODE, ready)


def _leave(error: TransportError) -> None:
    """The node manager is gone, and with it whoever could use this process. On the wire thread."""
    if isinstance(error, PeerClosedError) and error.by_us:
        return  # this process ends anyway, in its own way
    logger.debug("leaving: %s", error)
    os._exit(0)


def _terminate(_signum: int, _frame: Any) -> None:
    raise SystemExit(0)


def _nothing() -> None:
    """A worker's runtime ends with its process."""
