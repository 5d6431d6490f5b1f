"""Who a process is and where it stands in the cluster."""

import msgspec

from ...transport.address import ProcessAddress
from ...transport.tls import TlsConfig


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a process knows of itself when it joins.

    Attributes:
        process_id: 32 hex digits.
        host_id: names the kernel and file system it runs on.
        token: the cluster's secret.
        socket: path of the Unix socket it will listen on.
        node_id: of the node it runs on.
        gate: "host:port" by which processes of other hosts reach it, which is its node's; "": there are none.
        tls: certificates for that.
        node: its node manager, which passes on what is for the head.
        cluster: the cluster's address, for people.
        session: the session's name.
        session_folder: where the session's sockets and logs are.
        namespace: where its named actors live, unless said otherwise.
        is_driver: it runs a user's script, and starts jobs; else it runs what others submit.
    """

    process_id: str
    host_id: str
    token: bytes
    socket: str
    node_id: bytes = b""
    gate: str = ""
    tls: TlsConfig | None = None
    node: ProcessAddress
    cluster: str = ""
    session: str = ""
    session_folder: str = ""
    namespace: str = ""
    is_driver: bool = False
    node_labels: dict[str, str] = {}
