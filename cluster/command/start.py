"""`cluster start --head`: a head on this machine, and its first node."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from ...transport.address import ProcessAddress, host_and_port
from ..client.failure import CommandError, start_failure
from ..client.network_address import DEFAULT_PORT, EVERYWHERE, LOOPBACK, join_host_port, own_addresses
from ..client.reach import check_own
from ..client.running import ClusterProcess, cluster_processes
from ..head.head_config import HeadConfig, HeadReady
from ..node.node_config import NodeConfig, NodeReady
from ..process.launcher import NodeProcess, NodeStartError, launch_node
from ..token_file import make_token
from .foreground import Foreground, all_or_nothing
from .launch import read_file
from .node_option import add_node_options, boolean, host, node_config, port, tls_of
from .start_page import head_page, standby_page, warnings

STATE_VARIABLE = "LIMELIGHT_STATE"
"""What `--state` is unless given: other users can read a command's arguments, and a URL may have a password."""

_HEAD_MAIN = f"{__name__.partition('.')[0]}.cluster.head_main"


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "start", help="start a cluster on this machine", description="Start a head, and a node beside it."
    )
    parser.add_argument("--head", action="store_true", help="say so: other machines use `cluster join`")
    parser.add_argument(
        "--host", type=host, default=LOOPBACK, help="this machine's address for others (default: none, 127.0.0.1)"
    )
    parser.add_argument("--port", type=port, default=DEFAULT_PORT, help="where the head listens (default: 6379)")
    parser.add_argument(
        "--autoscaling", default="", metavar="FILE", help="add and remove machines as this cluster's file says"
    )
    parser.add_argument(
        "--state",
        default="",
        metavar="URL",
        help="where the head keeps what a head after it goes on with: sqlite:////FILE (default: in ~/.limelight), "
        "redis://… or postgresql://…, with which a second head on another machine stands by, or memory; "
        f"{STATE_VARIABLE} says it where others must not read a password",
    )
    parser.add_argument("--fresh", action="store_true", help="forget what a head before this one has kept")
    parser.add_argument("--head-only", action="store_true", help="no node: the machine runs no tasks")
    web = parser.add_argument_group("the dashboard, which also takes jobs")
    web.add_argument("--include-dashboard", type=boolean, default=True, metavar="BOOL", help="have one (default: true)")
    web.add_argument(
        "--dashboard-host", type=host, default=LOOPBACK, metavar="H", help="where it listens (default: 127.0.0.1)"
    )
    web.add_argument("--dashboard-port", type=port, metavar="PORT", help="its port (default: 8265, or the next free)")
    add_node_options(parser)
    parser.set_defaults(on_unknown="--host says where the head is to be. To join one, type: cluster join HEAD")
    parser.set_defaults(run=lambda options: _run(options, parser))


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    if not options.head:
        parser.error("say --head to start a cluster here. To join one, type: cluster join HEAD")
    if options.host in EVERYWHERE:
        shown = ", ".join(own_addresses()) or "none that others could reach"
        parser.error(f"--host is the address that others dial, so it must be one of this machine's: {shown}.")
    address = join_host_port(options.host, options.port)
    check_own(address)
    if options.include_dashboard:
        check_own(join_host_port(options.dashboard_host, options.dashboard_port or 0), "--dashboard-host")
    tls = tls_of(options, options.host)
    token = make_token()
    waiting = _node_without_head(address)
    config = HeadConfig(
        tcp=address,
        tls=tls,
        token=token,
        log_folder=options.log_dir,
        state=options.state or os.environ.get(STATE_VARIABLE) or _default_state(options.port),
        fresh=options.fresh,
        cluster_file=_cluster_file(options.autoscaling) if options.autoscaling else "",
        packages=str(Path.home() / ".limelight" / "packages"),
        dashboard_host=options.dashboard_host if options.include_dashboard else "",
        dashboard_port=options.dashboard_port,
    )
    foreground = Foreground() if options.block else None
    with all_or_nothing() as started:
        head = _launch_head(config, detached=not options.block)
        started.append(("the head", head))
        ready = msgspec.msgpack.decode(head.info, type=HeadReady)
        node: NodeReady | None = None
        if waiting is None and not options.head_only:
            route = ProcessAddress("", "", "", ready.leader or ready.address.tcp)
            tcp = join_host_port(options.host, options.node_port)
            wanted = node_config(options, tcp=tcp, tls=tls, head=route, on_head=not ready.leader, token=token)
            started.append(("the node", _launch_node(wanted, detached=not options.block)))
            node = msgspec.msgpack.decode(started[-1][1].info, type=NodeReady)
    if ready.leader:
        sys.stdout.write(standby_page(ready, node))
    else:
        # In the foreground under systemd or in a container, what is printed goes to a log that others may read.
        shown, secure = token if sys.stdout.isatty() or not options.block else "", tls is not None
        sys.stdout.write(head_page(ready, options.host, shown, node, waiting, secure=secure))
        sys.stdout.flush()
        sys.stderr.write(warnings(ready, options.host, options.dashboard_host, secure=secure))
    sys.stdout.flush()
    return foreground.stay(started[::-1]) if foreground is not None else 0


def _cluster_file(path: str) -> str:
    """A cluster's file that can be used, by its whole path."""
    whole = Path(path).expanduser().absolute()
    read_file(whole)
    return str(whole)


def _launch_head(config: HeadConfig, *, detached: bool) -> NodeProcess:
    try:
        return launch_node(msgspec.msgpack.encode(config), main=_HEAD_MAIN, detached=detached)
    except NodeStartError as error:
        # The default state is a file that goes with the port: a second head fails at that first, whatever its --host.
        if error.error_type in {"AddressInUseError", "HeadElsewhereError"}:
            own_port = host_and_port(config.tcp)[1]
            heads = [one.info.address for one in cluster_processes() if one.info.kind == "head" and one.info.address]
            mine = [one for one in heads if host_and_port(one)[1] == own_port]
            if mine:
                raise CommandError(
                    f"A head of yours runs at {mine[0]} already. `cluster status` shows its cluster, `cluster stop` "
                    "ends it; --port starts another beside it."
                ) from None
        raise start_failure("The head", error) from None


def _launch_node(config: NodeConfig, *, detached: bool) -> NodeProcess:
    try:
        return launch_node(msgspec.msgpack.encode(config), detached=detached)
    except NodeStartError as error:
        raise start_failure("The node", error) from None


def _node_without_head(address: str) -> ClusterProcess | None:
    """The node of this machine that waits for a head at that address: the one before was killed."""
    return next((one for one in cluster_processes() if one.info.kind == "node" and one.info.address == address), None)


def _default_state(port: int) -> str:
    """A file of the user's, one for each port: a head that is started again on the port goes on with it.

    Nobody starts a head again on a port that was any free one, so such a head keeps nothing.
    """
    if not port:
        return "memory"
    return f"sqlite:///{Path.home() / '.limelight' / f'head-{port}.sqlite'}"
