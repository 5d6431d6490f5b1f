"""Which session on this machine an address means."""

from pathlib import Path

from .client.network_address import with_port
from .host_id import host_id
from .node.node_config import NodeReady
from .session_info import SessionFolderError, SessionInfo, read_info, read_token
from .session_remains import current_session, live_sessions

AUTO = "auto"


def find_session(address: str, token: str = "") -> NodeReady:
    """The head's node of the session that runs on this machine at that address.

    Args:
        address: "auto" for the session started last, else as `init()["address"]` says.
        token: the cluster's secret; "": the one in the session's folder.

    Raises:
        ConnectionError: there is none, or it may not be used.
    """
    found = _find(address)
    if found is None:
        raise ConnectionError(_nobody(address))
    path, info = found
    if info.node is None:
        raise ConnectionError(f"The session {path.name} is still starting, or of another version ({info.version}).")
    if info.node.host_id != host_id():
        raise ConnectionError(
            f"The session {path.name} runs in another container, whose memory this process cannot reach. Run the "
            "driver in the same container."
        )
    try:
        secret = token or read_token(path)
    except SessionFolderError as error:
        raise ConnectionError(f"The session at {address} is not yours to use: {error}") from error
    return NodeReady(b"", info.node, info.node.host_id, str(path), secret, info.tls)


def _find(address: str) -> tuple[Path, SessionInfo] | None:
    if address == AUTO:
        path = current_session()
        info = read_info(path) if path is not None else None
        return None if path is None or info is None else (path, info)
    wanted = _plain(address)
    for path in live_sessions():
        info = read_info(path)
        # A head in a process of its own hosts nobody: drivers join the node beside it.
        if info is not None and info.kind != "head" and info.address and _plain(info.address) == wanted:
            return path, info
    return None


def _plain(address: str) -> str:
    try:
        host, _, port = with_port(address).rpartition(":")
    except ValueError:
        return address  # the Unix socket of a session without a port, or nothing at all
    return f"127.0.0.1:{port}" if host in {"localhost", "[::1]"} else f"{host}:{port}"


def _nobody(address: str) -> str:
    infos = [info for path in live_sessions() if (info := read_info(path)) is not None]
    addresses = sorted({info.address for info in infos if info.address and info.kind != "head"})
    there = (
        f"This machine has nodes of yours of {', '.join(addresses)}."
        if addresses
        else "No session of yours runs on this machine."
    )
    if address == AUTO:
        return (
            f"There is no cluster to connect to. {there} `cluster start --head` starts one, `cluster join HEAD` makes "
            "this machine a node of one, and init() without an address starts a session of the program's own."
        )
    return (
        f"There is no cluster at {address!r} of which this machine is a node, as a program's has to be. {there} If "
        f"that is the address of a head elsewhere, type `cluster join {address}` first."
    )
