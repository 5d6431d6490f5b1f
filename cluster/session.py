"""Starting a local session, or joining a cluster: what `init()` does."""

import importlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from ..actors.interrupt import hearing_interrupts
from ..actors.runtime_env import RuntimeEnv
from .node.node_config import NodeConfig, NodeReady, spilling_place
from .process.launcher import NodeStartError, launch_node, occupy_standard_descriptors

if TYPE_CHECKING:
    from ..actors.native.runtime import NativeRuntime

_REFUSALS: dict[str, type[Exception]] = {"ValueError": ValueError, "TypeError": TypeError}
"""What the node process says of arguments that only it can judge is raised as if `init` had judged."""

_NODE_SETTINGS = (
    "num_cpus",
    "num_gpus",
    "resources",
    "labels",
    "object_store_memory",
    "object_spilling_directory",
    "_memory",
)

logger = logging.getLogger("limelight")


def start(**settings: Any) -> "NativeRuntime":
    """Start a local session, or connect to a cluster, and return the process's runtime.

    Raises:
        ConnectionError: there is no cluster at `address`.
        NotImplementedError: the address is of a kind this version does not have.
    """
    occupy_standard_descriptors()
    address: str | None = settings.get("address")
    if address is not None and address.startswith("ray://"):
        raise NotImplementedError(
            f"init(address={address!r}) is not implemented yet: this version starts sessions of its own and joins "
            "those that run on this machine."
        )
    RuntimeEnv.of(settings.get("runtime_env"))  # refused before anything is started for it
    if address not in {None, "local"}:
        return _join(address or "", settings)
    try:
        node = launch_node(msgspec.msgpack.encode(_config(settings)), meanwhile=_import_driver)
    except NodeStartError as error:
        if error.error_type in _REFUSALS:
            raise _REFUSALS[error.error_type](error.text) from None
        raise
    try:
        from .driver import connect

        ready = msgspec.msgpack.decode(node.info, type=NodeReady)
        return connect(settings, ready, node)
    except BaseException:
        node.end()
        raise


def _import_driver() -> None:
    """Import what a driver needs (aiohttp takes longest) while the node process, on another core, does the same."""
    with hearing_interrupts():
        importlib.import_module(".driver", __package__)


def _join(address: str, settings: dict[str, Any]) -> "NativeRuntime":
    """Become one more driver of a cluster that goes on when this driver leaves."""
    given = [name for name in _NODE_SETTINGS if settings.get(name) is not None]
    if given:
        raise ValueError(
            f"{', '.join(given)} cannot be given with an address: the nodes of the cluster at {address!r} have what "
            "they were started with."
        )
    _import_driver()
    from ..transport.error import TransportError
    from .driver import connect
    from .session_address import find_session

    node = find_session(address, settings.get("token") or "")
    try:
        return connect(settings, node, None)
    except TransportError as error:
        raise ConnectionError(f"The cluster at {address!r} cannot be joined: {error}") from error


def _config(settings: dict[str, Any]) -> NodeConfig:
    return NodeConfig(
        num_cpus=settings.get("num_cpus"),
        num_gpus=settings.get("num_gpus"),
        memory=_bytes(settings, "_memory"),
        object_store_memory=_bytes(settings, "object_store_memory"),
        spilling=spilling_place(settings.get("object_spilling_directory") or ""),
        resources=dict(settings.get("resources") or {}),
        labels=dict(settings.get("labels") or {}),
        token=settings.get("token") or "",
        system_config=dict(settings.get("_system_config") or {}),
    )


def _bytes(settings: dict[str, Any], name: str) -> int | None:
    """A size as people write it, `500e6` for one, in whole bytes."""
    size: object = settings.get(name)
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int | float):
        raise TypeError(f"init({name}={size!r}): it is a number of bytes, for example 500e6.")
    return int(size)
