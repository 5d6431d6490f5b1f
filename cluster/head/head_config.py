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
    """

    tcp: str
    tls: TlsConfig | None = None
    token: str
    log_folder: str = ""


class HeadReady(msgspec.Struct, frozen=True):
    """A head serves.

    Attributes:
        address: its process.
        session: the cluster's name for its session.
        folder: of this process.
    """

    address: ProcessAddress
    session: str
    folder: str
