"""What a node process is started with, and what it says when it is ready."""

import msgspec

from ...transport.address import ProcessAddress


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one node. None: what the machine has.

    Attributes:
        num_cpus, num_gpus: how many of them the node offers.
        memory: bytes it offers.
        object_store_memory: bytes of its object store.
        resources: further resources.
        labels: the node's labels.
        tcp: "host:port" to listen on; "": Unix socket only.
        head: the head's address; None: this process hosts the head.
        session: the cluster's name for its session; "": the name of this node's own session folder.
        token: the cluster's secret; empty: a new one.
        system_config: see `NodeSettings`.
        prestart: workers to start before anybody asks; None: one per CPU, at most four.
    """

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    object_store_memory: int | None = None
    resources: dict[str, float] = {}
    labels: dict[str, str] = {}
    tcp: str = ""
    head: ProcessAddress | None = None
    session: str = ""
    token: str = ""
    prestart: int | None = None
    system_config: dict[str, float] = {}


class NodeReady(msgspec.Struct, frozen=True):
    """A node serves.

    Attributes:
        node_id: 28 bytes.
        address: its process.
        host_id: names its kernel and file system.
        folder: the session's folder, with the token.
        token: the cluster's secret. (This travels over a private pipe.)
    """

    node_id: bytes
    address: ProcessAddress
    host_id: str
    folder: str
    token: str
