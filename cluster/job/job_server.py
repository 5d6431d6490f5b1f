"""Where jobs are submitted: finds a cluster's web server, and what it takes to speak to it."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from ...actors.contract import QueryState
from ...actors.session import ADDRESS_VARIABLES
from ...exceptions import AuthenticationError
from ...transport.address import host_and_port
from ..session_info import SessionFolderError
from ..token_file import TokenError, find_token

SERVER_VARIABLES = ("LIMELIGHT_API_SERVER_ADDRESS", "RAY_API_SERVER_ADDRESS")
"""Environment variables with the address of a web server, the first set one; before those that name a cluster."""


class JobServer(NamedTuple):
    """A web server.

    Attributes:
        url: "http://host:port", without a slash at the end.
        token: the cluster's; "": unknown, and perhaps not needed.
        authority: the file of the authority that vouches for it; "": one that the machine knows.
    """

    url: str
    token: str
    authority: str = ""


def find_server(address: str | None, token: str | None, environment: Mapping[str, str] = os.environ) -> JobServer:
    """Find a cluster's web server.

    Args:
        address: of the web server ("http://host:8265"), or of the cluster ("host:6379", "auto"); None: what the
            environment says, else this machine's cluster.
        token: the cluster's; None: LIMELIGHT_TOKEN, the token's file, or what this machine's cluster has.
        environment: variables.

    Raises:
        ConnectionError: there is no such cluster, or it has no web server.
        AuthenticationError: the token on this machine is none.
    """
    if address is None:
        names = (*SERVER_VARIABLES, *ADDRESS_VARIABLES)
        address = next((environment[name] for name in names if environment.get(name)), "auto")
    if "://" in address:
        if not address.startswith(("http://", "https://")):
            raise ValueError(f"{address!r} is no address of a web server: that begins with http:// or https://.")
        try:
            return JobServer(address.rstrip("/"), token or find_token(environment) or "")
        except TokenError as error:
            raise AuthenticationError(str(error)) from None
    # In a thread of its own: this one may run an event loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_ask_cluster, "" if address == "auto" else address, token).result()


def _ask_cluster(address: str, token: str | None) -> JobServer:
    from ..client.failure import CommandError
    from ..client.network_address import is_loopback
    from ..client.running import cluster_processes
    from ..client.session_client import ask_head, find_cluster

    try:
        target = find_cluster(address)
        [answer] = ask_head(target, QueryState("dashboard"))
    except (CommandError, SessionFolderError, TokenError) as error:
        hint = f" Is that the dashboard's address? It is written http://{address} then." if address else ""
        raise ConnectionError(f"{error}{hint}") from None
    url: str = msgspec.msgpack.decode(answer)
    if not url:
        raise ConnectionError(
            f"The cluster at {target.cluster} takes no jobs: its head was started with --include-dashboard false."
        )
    head_here = any(one.info.kind == "head" and one.info.address == target.cluster for one in cluster_processes())
    if is_loopback(host_and_port(url.partition("://")[2])[0]) and not head_here:
        raise ConnectionError(
            f"The dashboard of the cluster at {target.cluster}, which takes jobs, listens for the head's own machine "
            "only. Submit there, or start the head with --dashboard-host, at an address that this machine reaches."
        )
    return JobServer(url, token or target.token, target.tls.authority if target.tls is not None else "")
