"""Starting a local session, or joining a cluster: what `init()` does."""

import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ..actors.contract import NODE, DriverRegistered, RegisterDriver, decoder_of
from ..actors.native.core import Core
from ..actors.native.environment import Environments
from ..actors.native.identity import Identity
from ..actors.native.runtime import NativeRuntime
from ..actors.native.store_client import StoreClient
from ..transport.address import ProcessAddress
from .node.node_config import NodeConfig, NodeReady
from .process.launcher import launch_node

logger = logging.getLogger("limelight")


def start(**settings: Any) -> NativeRuntime:
    """Start a local session, or connect to a cluster, and return the process's runtime.

    Raises:
        ConnectionError: there is no cluster at `address`.
        NotImplementedError: the address is of a kind this version does not have.
    """
    address = settings.get("address")
    if address not in (None, "local"):
        raise NotImplementedError(
            f"init(address={address!r}) is not implemented yet: this version starts local sessions (init() or "
            'init("local")).'
        )
    node = launch_node(msgspec.msgpack.encode(_config(settings)))
    try:
        ready = msgspec.msgpack.decode(node.info, type=NodeReady)
        return _connect(settings, ready, node.end)
    except BaseException:
        node.end()
        raise


def _config(settings: dict[str, Any]) -> NodeConfig:
    return NodeConfig(
        num_cpus=settings.get("num_cpus"),
        num_gpus=settings.get("num_gpus"),
        memory=settings.get("_memory"),
        object_store_memory=settings.get("object_store_memory"),
        resources=dict(settings.get("resources") or {}),
        labels=dict(settings.get("labels") or {}),
        token=settings.get("token") or "",
    )


def _connect(settings: dict[str, Any], node: NodeReady, end: Callable[[], None]) -> NativeRuntime:
    """Join the node as a driver; `end` is what leaving does beside."""
    process_id = secrets.token_hex(16)
    identity = Identity(
        process_id=process_id,
        host_id=node.host_id,
        token=bytes.fromhex(node.token),
        socket=str(Path(node.folder) / "sockets" / process_id[:12]),
        node=node.address,
        head=node.address,
        session_folder=node.folder,
        namespace=settings.get("namespace") or secrets.token_hex(16),
        is_driver=True,
    )
    store = StoreClient()
    core = Core(identity, store)
    core.job_id = secrets.token_bytes(4)
    core.environments = Environments(core)
    core.runtime_env = dict(settings.get("runtime_env") or {})
    address = core.start()
    try:
        registered = _register(core, address, settings)
    except BaseException:
        core.stop()
        raise
    core.joined(registered)
    store.attach(core, registered.arena)

    def close() -> None:
        core.stop()
        store.close()
        end()

    return NativeRuntime(core, close)


def _register(core: Core, address: ProcessAddress, settings: dict[str, Any]) -> DriverRegistered:
    shown = settings.get("log_to_driver")
    body = RegisterDriver(address, core.job_id, core.namespace, shown is None or bool(shown))
    return decoder_of(DriverRegistered).decode(core.ask(core.node, NODE, body, timeout=30.0))


