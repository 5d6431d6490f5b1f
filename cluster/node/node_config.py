"""What a node process is started with."""

import msgspec

from ...transport.address import ProcessAddress


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one node.

    Attributes:
        node_id: 28 bytes.
        host_id: names the kernel and file system.
        host: the machine's name or address, for people.
        token: the cluster's secret.
        session: the session's name.
        folder: the session's folder.
        resources: in ten-thousandths.
        labels: the node's labels.
        object_store_memory: bytes.
        tcp: "host:port" to listen on; "": Unix socket only.
        head: the head's address; None: this process hosts the head.
        owner_pid: the process whose death ends the node; 0: none.
        owner_identity: tells that process from a later one with its pid.
        prestart: workers to start before anybody asks.
    """

    node_id: bytes
    host_id: str
    host: str
    token: bytes
    session: str
    folder: str
    resources: dict[str, int]
    labels: dict[str, str] = {}
    object_store_memory: int
    tcp: str = ""
    head: ProcessAddress | None = None
    owner_pid: int = 0
    owner_identity: str = ""
    prestart: int = 2
