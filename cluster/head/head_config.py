"""What a head's process is started with, and what it says when it is ready."""

import msgspec

from ...transport.address import ProcessAddress
from ...transport.tls import TlsConfig


class HeadConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a head.

    Attributes:
        tcp: "host:port" to listen on.
        tls: certificates for that.
        token: the cluster's secret.
        log_folder: where its log goes; "": into the session's folder.
        state: the URL of what outlives it; see `state/store_url.py`.
        fresh: forget what is there of a head before.
        cluster_file: the file that says which machines it may add; "": none.
        packages: where the packages of jobs are kept; "": in the session's folder, and gone with the head.
        dashboard_host: where the web server listens; "": there is none.
        dashboard_port: its port; None: 8265, or the first free one after it.
    """

    tcp: str
    tls: TlsConfig | None = None
    token: str
    log_folder: str = ""
    state: str = "memory"
    fresh: bool = False
    cluster_file: str = ""
    packages: str = ""
    dashboard_host: str = ""
    dashboard_port: int | None = None


class HeadReady(msgspec.Struct, frozen=True):
    """A head serves.

    Attributes:
        address: its process.
        session: the cluster's name for its session.
        leader: the address of the head that leads, where this one stands by for it; else "".
        dashboard: the web server's address; "": there is none.
    """

    address: ProcessAddress
    session: str
    leader: str = ""
    dashboard: str = ""
