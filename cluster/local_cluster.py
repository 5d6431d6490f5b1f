"""Several nodes on one machine, to try and test what a cluster does: Ray's `ray.cluster_utils`, name for name."""

import atexit
import os
import secrets
import signal
import time
from pathlib import Path
from typing import Any

import msgspec

from ..actors import option_rule, runtime
from ..actors import session as driver_session
from .node.node_config import NodeConfig, NodeReady
from .process.launcher import NodeProcess, launch_node
from .session_remains import remove_dead

_STORE_BYTES = 150 << 20
_ARGUMENTS = ("num_cpus", "num_gpus", "memory", "resources", "labels", "object_store_memory")
_WAIT_S = 30.0
_LOOK_S = 0.02


class ClusterNode:
    """One node of a `Cluster`.

    Attributes:
        node_id: in hexadecimal, as `nodes()` shows it.
        unique_id: the same; Ray's name for it.
        pid: its node process.
    """

    def __init__(self, process: NodeProcess) -> None:
        self._process = process
        self.ready = msgspec.msgpack.decode(process.info, type=NodeReady)
        self.node_id = self.unique_id = self.ready.node_id.hex()
        self.pid = process.pid

    def is_alive(self) -> bool:
        """Its process has not ended."""
        return self._process.is_alive()

    def end(self) -> None:
        """Have it end in good order, and wait for that."""
        self._process.end()

    def kill(self) -> None:
        """End it as a power cut would, and wait until its process is gone; its workers follow."""
        if self._process.is_alive():
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        remove_dead(Path(self.ready.folder))

    def __repr__(self) -> str:
        return f"<node {self.node_id[:8]} (pid {self.pid})>"


class Cluster:
    """Node processes on this machine that form a cluster; the first one hosts the head.

    Each has its own workers and object store, and offers what it is told to, whatever the machine has. They end with
    this process. Not thread-safe.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        """Make a cluster of no node, or (`initialize_head`) of one.

        Args:
            initialize_head: start the head's node.
            connect: then `init` this process as a driver of the cluster.
            head_node_args: for `add_node`.
            shutdown_at_exit: accepted for Ray's sake; nodes always end with the process that started them.

        Raises:
            RuntimeError: `connect` without `initialize_head`.
        """
        del shutdown_at_exit
        self.head_node: ClusterNode | None = None
        self.worker_nodes: set[ClusterNode] = set()
        self.connected = False
        self._token = secrets.token_hex(32)
        if connect and not initialize_head:
            raise RuntimeError("A cluster without a head has nothing to connect to: pass initialize_head=True, too.")
        if initialize_head:
            self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()

    @property
    def address(self) -> str | None:
        """What `init(address=...)` takes; None while there is no head."""
        return self.head_node.ready.address.tcp if self.head_node is not None else None

    gcs_address = address

    def connect(self, namespace: str | None = None) -> None:
        """Make this process a driver of the cluster.

        Raises:
            RuntimeError: the cluster has no head, or this process is a driver already.
        """
        if self.address is None:
            raise RuntimeError("The cluster has no head to connect to: call add_node() first.")
        driver_session.init(self.address, namespace=namespace)
        self.connected = True

    def add_node(self, wait: bool = True, **node_args: Any) -> ClusterNode:
        """Start a node; the first one becomes the head's. Returns when the head knows it.

        Args:
            wait: accepted for Ray's sake.
            node_args: num_cpus (1 unless given), num_gpus (0), memory, resources, labels and object_store_memory
                (150 MiB), as in `init`.

        Raises:
            TypeError: an argument does not exist. NodeStartError: the node does not start.
        """
        del wait
        for name in node_args:
            if name not in _ARGUMENTS:
                raise TypeError(option_rule.unknown_name(f"Unknown argument of add_node: {name!r}", name, _ARGUMENTS))
        head = self.head_node
        config = NodeConfig(
            num_cpus=node_args.get("num_cpus", 1),
            num_gpus=node_args.get("num_gpus", 0),
            memory=node_args.get("memory"),
            object_store_memory=node_args.get("object_store_memory", _STORE_BYTES),
            resources=dict(node_args.get("resources") or {}),
            labels=dict(node_args.get("labels") or {}),
            tcp="127.0.0.1:0",
            head=head.ready.address if head is not None else None,
            session=Path(head.ready.folder).name if head is not None else "",
            token=self._token,
        )
        node = ClusterNode(launch_node(msgspec.msgpack.encode(config)))
        if head is None:
            self.head_node = node
            atexit.register(self.shutdown)
        else:
            self.worker_nodes.add(node)
        return node

    def remove_node(self, node: ClusterNode, allow_graceful: bool = False) -> None:
        """End a node: at once, as if its machine had failed, or (`allow_graceful`) in good order.

        Raises:
            ValueError: it is the node that this process's driver is connected to, or none of this cluster's.
        """
        if node is not self.head_node and node not in self.worker_nodes:
            raise ValueError(f"{node!r} is not a node of this cluster (any more).")
        made = runtime.current_or_none()
        if made is not None and made.context().node_id.hex() == node.node_id:
            raise ValueError(f"{node!r} is the node that this driver is connected to: call shutdown() first.")
        if node is self.head_node:
            self.head_node = None
        else:
            self.worker_nodes.remove(node)
        if allow_graceful:
            node.end()
        else:
            node.kill()

    def list_all_nodes(self) -> list[ClusterNode]:
        """The nodes, the head's first."""
        return [*([self.head_node] if self.head_node is not None else []), *self.worker_nodes]

    def wait_for_nodes(self, timeout: float = _WAIT_S) -> None:
        """Wait until the cluster has exactly the nodes that were added and not removed. Needs a driver in this process.

        Raises:
            TimeoutError: it has others after `timeout` seconds.
            RuntimeError: this process is no driver of the cluster.
        """
        made = runtime.current_or_none()
        if made is None:
            raise RuntimeError("Only a driver can see the cluster's nodes: call connect() or init() first.")
        expected = {node.node_id for node in self.list_all_nodes()}
        deadline = time.monotonic() + timeout
        while (alive := {row["NodeID"] for row in made.state("nodes") if row["Alive"]}) != expected:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"After {timeout:g} s the cluster has {len(alive)} nodes, not the {len(expected)} that were added "
                    f"and not removed. Missing: {sorted(expected - alive)}; unexpected: {sorted(alive - expected)}."
                )
            time.sleep(_LOOK_S)

    def shutdown(self) -> None:
        """End the driver that `connect` made, and all nodes. Idempotent."""
        atexit.unregister(self.shutdown)
        if self.connected:
            self.connected = False
            driver_session.shutdown()
        # In good order, and the head's last: the others would end on their own without it.
        for node in [*self.worker_nodes, *([self.head_node] if self.head_node is not None else [])]:
            node.end()
        self.worker_nodes.clear()
        self.head_node = None
