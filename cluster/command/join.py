"""`cluster join HEAD`: this machine becomes a node of a cluster."""

import argparse
import getpass
import sys
from typing import Any

import msgspec

from ...transport.address import ProcessAddress
from ..client.failure import CommandError, join_failure
from ..client.network_address import is_loopback, join_host_port, with_port
from ..client.reach import check_own, reach
from ..client.running import cluster_processes
from ..node.node_config import NodeReady
from ..process.launcher import NodeStartError, launch_node
from ..token_file import check_token, find_token, token_path
from .foreground import Foreground
from .machine_text import offer
from .node_option import add_node_options, host, node_config, tls_of


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "join", help="make this machine a node of a cluster", description="Make this machine a node of a cluster."
    )
    parser.add_argument("head", help="where the head listens: its host, or host:port")
    parser.add_argument("--host", type=host, help="this machine's address for others (default: as the head sees it)")
    parser.add_argument("--any-python", action="store_true", help="also where the head's Python is 3.x and ours 3.y")
    add_node_options(parser)
    parser.set_defaults(run=lambda options: _run(options, parser))


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    try:
        address = with_port(options.head)
    except ValueError as error:
        parser.error(str(error))
    token = _token()
    here = cluster_processes()
    already = [one for one in here if one.info.kind == "node" and one.info.address == address]
    if already and not options.node_name:
        raise CommandError(
            f"This machine is a node of the cluster at {address} already: {already[0].what}. `cluster stop` ends it; "
            "with a --node-name of its own a second one may run beside it."
        )
    seen = reach(address)
    own_host = options.host or seen
    if is_loopback(own_host) and not is_loopback(seen):
        raise CommandError(
            f"--host {own_host}: the cluster at {address} could not reach this node there, for only this machine "
            f"can. Leave --host out, which means {seen}, or say at which address the others reach this machine."
        )
    own = join_host_port(own_host, options.node_port)
    check_own(own)
    tls = tls_of(options, own_host)
    wanted = node_config(
        options,
        tcp=own,
        tls=tls,
        head=ProcessAddress("", "", "", address),
        token=token,
        any_python=options.any_python,
        on_head=not already and any(one.info.kind == "head" and one.info.address == address for one in here),
    )
    foreground = Foreground() if options.block else None
    try:
        process = launch_node(msgspec.msgpack.encode(wanted), detached=not options.block)
    except NodeStartError as error:
        raise join_failure(address, error) from None
    ready = msgspec.msgpack.decode(process.info, type=NodeReady)
    lines = [
        f"This machine ({ready.address.tcp}) is a node of the cluster at {address}.",
        f"It offers {offer(ready.resources)}.",
        *(f"Note: {text}" for text in ready.warnings),
        "",
        "  to see the cluster cluster status",
        "  to leave it        cluster stop",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    if not is_loopback(own_host):
        sys.stderr.write(f"\nNote: {ready.address.tcp} is open to the network, for those who have the token.\n")
    return foreground.stay([("the node", process)]) if foreground is not None else 0


def _token() -> str:
    found = find_token()
    if found is None and sys.stdin.isatty():
        found = check_token(getpass.getpass("The cluster's token: ").strip(), "what was typed")
    if found is None:
        raise CommandError(
            "The cluster's token is needed to join it. On the head's machine, `cluster token` prints it; here, type "
            f"LIMELIGHT_TOKEN=… before the command, or put it into {token_path()} (mode 0600)."
        )
    return found
