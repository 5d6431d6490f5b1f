"""Starting a local session, or joining a cluster: what `init()` does."""

import contextlib
import logging
import secrets
from pathlib import Path
from typing import Any

import msgspec

from ..actors.contract import NODE, DriverRegistered, FlushOutput, RegisterDriver, decoder_of
from ..actors.native.environment import Environments
from ..actors.native.hub import Hub
from ..actors.native.identity import Identity
from ..actors.native.runtime import NativeRuntime
from ..actors.native.store_client import StoreClient
from ..exceptions import LocalRayletDiedError
from ..transport.address import ProcessAddress
from ..transport.error import TransportError
from .node.node_config import NodeConfig, NodeReady
from .process.launcher import NodeProcess, launch_node
from .process.log_batch import LogBatch
from .process.output_printer import OutputPrinter, PrinterSettings
from .session_address import find_session
from .session_folder import remove_dead

_FLUSH_S = 2.0
"""How long `shutdown` waits for the last lines of the workers."""

_NODE_SETTINGS = ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "_memory")

logger = logging.getLogger("limelight")


def start(**settings: Any) -> NativeRuntime:
    """Start a local session, or connect to a cluster, and return the process's runtime.

    Raises:
        ConnectionError: there is no cluster at `address`.
        NotImplementedError: the address is of a kind this version does not have.
    """
    address: str | None = settings.get("address")
    if address is not None and address.startswith("ray://"):
        raise NotImplementedError(
            f"init(address={address!r}) is not implemented yet: this version starts sessions of its own and joins those "
            "that run on this machine."
        )
    if address not in {None, "local"}:
        return _join(address or "", settings)
    node = launch_node(msgspec.msgpack.encode(_config(settings)))
    try:
        ready = msgspec.msgpack.decode(node.info, type=NodeReady)
        return _connect(settings, ready, node)
    except BaseException:
        node.end()
        raise


def _join(address: str, settings: dict[str, Any]) -> NativeRuntime:
    """Become one more driver of a cluster that goes on when this driver leaves."""
    given = [name for name in _NODE_SETTINGS if settings.get(name) is not None]
    if given:
        raise ValueError(
            f"{', '.join(given)} cannot be given with an address: the nodes of the cluster at {address!r} have what they "
            "were started with."
        )
    node = find_session(address, settings.get("token") or "")
    try:
        return _connect(settings, node, None)
    except TransportError as error:
        raise ConnectionError(f"The cluster at {address!r} cannot be joined: {error}") from error


def _config(settings: dict[str, Any]) -> NodeConfig:
    return NodeConfig(
        num_cpus=settings.get("num_cpus"),
        num_gpus=settings.get("num_gpus"),
        memory=_bytes(settings, "_memory"),
        object_store_memory=_bytes(settings, "object_store_memory"),
        resources=dict(settings.get("resources") or {}),
        labels=dict(settings.get("labels") or {}),
        token=settings.get("token") or "",
    )


def _bytes(settings: dict[str, Any], name: str) -> int | None:
    """A size as people write it, `500e6` for one, in whole bytes."""
    size: object = settings.get(name)
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int | float):
        raise TypeError(f"init({name}={size!r}): it is a number of bytes, for example 500e6.")
    return int(size)


def _connect(settings: dict[str, Any], node: NodeReady, process: NodeProcess | None) -> NativeRuntime:
    """Join the node as a driver. `process` is the node's, where this driver started it and ends it when it leaves."""
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
    hub = Hub(identity, store)
    hub.job_id = secrets.token_bytes(4)
    if process is not None:
        hub.node_loss.obituary = process.obituary
    hub.environments = Environments(hub)
    hub.runtime_env = dict(settings.get("runtime_env") or {})
    address = hub.start()
    try:
        registered = _register(hub, address, settings)
    except BaseException:
        hub.stop()
        raise
    hub.joined(registered)
    store.attach(hub, registered.arena)

    printer = OutputPrinter(PrinterSettings.from_environment(), "127.0.0.1")
    hub.on_output = lambda batch: printer.show(msgspec.msgpack.decode(batch, type=LogBatch))

    def close() -> None:
        with contextlib.suppress(TransportError, LocalRayletDiedError):  # the node is gone, and nothing is left to show
            hub.ask(hub.node, NODE, FlushOutput(), timeout=_FLUSH_S)
        hub.wire.run(printer.close())
        hub.stop()
        store.close()
        if process is not None:
            process.end()
            remove_dead(Path(node.folder))  # a node process that was killed could not

    return NativeRuntime(hub, close)


def _register(hub: Hub, address: ProcessAddress, settings: dict[str, Any]) -> DriverRegistered:
    shown = settings.get("log_to_driver")
    body = RegisterDriver(address, hub.job_id, hub.namespace, shown is None or bool(shown))
    return decoder_of(DriverRegistered).decode(hub.ask(hub.node, NODE, body, timeout=30.0))
