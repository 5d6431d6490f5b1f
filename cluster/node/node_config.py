"""What a node process is started with, and what it says when it is ready."""

import os
from pathlib import Path

import msgspec

from ...transport.address import ProcessAddress, host_and_port
from ...transport.tls import TlsConfig


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one node. None: what the machine has.

    Attributes:
        num_cpus, num_gpus: how many of them the node offers.
        memory: bytes it offers.
        object_store_memory: bytes of its object store.
        spilling: where objects go that find no room in it: a folder, or a URL that fsspec knows; the node makes a
            folder of its own there. "": the session's folder.
        resources: further resources.
        labels: the node's labels.
        name: of the node, for people; "": its host.
        tcp: "host:port" to listen on; "": Unix socket only.
        tls: certificates for that.
        head: the head's address; None: this process hosts the head. Without a process id: a head that has a process of
            its own and may be restarted, so whoever answers there is the head.
        on_head: it is the node on the head's machine.
        session: the cluster's name for its session; "": what the head says, or the name of this node's session folder.
        token: the cluster's secret; empty: a new one.
        log_folder: where its logs go; "": into the session's folder.
        any_python: join also where the head's minor version of Python is another.
        system_config: see `NodeSettings`.
        prestart: workers to start before anybody asks; None: one per CPU, at most four.
    """

    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    object_store_memory: int | None = None
    spilling: str = ""
    resources: dict[str, float] = {}
    labels: dict[str, str] = {}
    name: str = ""
    tcp: str = ""
    tls: TlsConfig | None = None
    head: ProcessAddress | None = None
    on_head: bool = False
    session: str = ""
    token: str = ""
    log_folder: str = ""
    any_python: bool = False
    prestart: int | None = None
    system_config: dict[str, float] = {}

    @property
    def host(self) -> str:
        """The address by which other hosts know the node."""
        return host_and_port(self.tcp)[0] if self.tcp else "127.0.0.1"


def spilling_place(given: str | os.PathLike[str]) -> str:
    """A folder or URL as its user wrote it, as a process means it that was started elsewhere.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"object_spilling_directory={given!r}: it is a folder or a URL, such as '/scratch/me'.")
    text = os.fspath(given)
    return text if not text or "://" in text else str(Path(text).expanduser().absolute())


class NodeReady(msgspec.Struct, frozen=True):
    """A node serves.

    Attributes:
        node_id: 28 bytes.
        address: its process.
        host_id: names its kernel and file system.
        folder: the session's folder, with the token.
        token: the cluster's secret. (This travels over a private pipe.)
        tls: what its drivers show to other hosts.
        warnings: what its user should know.
        resources: what it offers.
    """

    node_id: bytes
    address: ProcessAddress
    host_id: str
    folder: str
    token: str
    tls: TlsConfig | None = None
    warnings: list[str] = []
    resources: dict[str, float] = {}
