"""What `cluster start` says when all is up: where things are, and what to type next."""

from ...transport.address import host_and_port
from ..client.network_address import DEFAULT_PORT, EVERYWHERE, is_loopback, own_addresses
from ..client.running import ClusterProcess
from ..head.head_config import HeadReady
from ..node.node_config import NodeReady
from .machine_text import offer


def standby_page(head: HeadReady, node: NodeReady | None) -> str:
    """For a head that stands by, with the node beside it."""
    lines = [
        f"The head at {head.leader} leads. The one at {head.address.tcp} stands by, and takes over when it is gone."
    ]
    if node is not None:
        lines.append(f"This machine offers {offer(node.resources)}.")
    lines += ["", "  to see the cluster cluster status", "  to end this part   cluster stop"]
    return "\n".join(lines) + "\n"


def head_page(
    head: HeadReady, own_host: str, token: str, node: NodeReady | None, waiting: ClusterProcess | None, *, secure: bool
) -> str:
    """For a head that leads.

    Args:
        head: what it says of itself.
        own_host: this machine's address for others.
        token: the cluster's, to be shown; "": it is not to be.
        node: the node beside it that was started, if one was.
        waiting: a node that was there already.
        secure: the cluster speaks TLS.
    """
    alone = is_loopback(own_host)
    lines = [f"The head listens at {head.address.tcp}{', for this machine only' if alone else ''}."]
    if node is not None:
        lines += [f"This machine offers {offer(node.resources)}.", *(f"Note: {text}" for text in node.warnings)]
    if waiting is not None:
        lines.append(f"The node of this machine (pid {waiting.info.pid}), which has waited for a head, joins it again.")
    if head.dashboard:
        lines.append(f"The dashboard is at {head.dashboard}.")
    lines += [
        "",
        '  in a program       limelight.init(address="auto")',
        "  to see the cluster cluster status",
        *(["  to run a job       cluster job submit --working-dir . -- python script.py"] if head.dashboard else []),
        "  to end it          cluster stop",
        "",
        *(_how_to_open(head.address.tcp) if alone else _how_to_join(head.address.tcp, token, secure=secure)),
    ]
    return "\n".join(lines) + "\n"


def _how_to_open(address: str) -> list[str]:
    others, port = own_addresses(), host_and_port(address)[1]
    given = "" if port == DEFAULT_PORT else f" --port {port}"
    return [
        "For other machines to join, the head must listen at an address that they reach:",
        "",
        f"  cluster stop && cluster start --head --host {others[0] if others else 'ADDRESS'}{given}",
    ]


def _how_to_join(address: str, token: str, *, secure: bool) -> list[str]:
    files = " --tls-cert FILE --tls-key FILE" if secure else ""
    made = ", with the files that `cluster token --new-cert ITS-ADDRESS` makes here" if secure else ""
    hidden = "" if token else ", with the token that `cluster token` prints here"
    join = f"  LIMELIGHT_TOKEN={token or '…'} cluster join {address}{files}"
    return [f"On each other machine, type{hidden}{made}:", "", join]


def warnings(head: HeadReady, own_host: str, dashboard_host: str, *, secure: bool) -> str:
    """What is open to others, and what that means; "" where nothing is.

    Args:
        head: what it says of itself.
        own_host: this machine's address for others.
        dashboard_host: where the dashboard listens, as it was asked for.
        secure: the cluster speaks TLS.
    """
    text = ""
    if head.dashboard and not is_loopback(dashboard_host):
        everywhere = dashboard_host in EVERYWHERE
        where = f"all addresses of this machine ({dashboard_host})" if everywhere else dashboard_host
        text += (
            f"\nWARNING: the dashboard, port {head.dashboard.rpartition(':')[2]} of {where}, is open to the network. "
            "Whoever has the token can run programs as you.\n"
        )
        if not secure:
            text += "WARNING: without TLS, whoever is on the way can read the token, which its users send.\n"
    if not is_loopback(own_host):
        text += (
            f"\nWARNING: port {host_and_port(head.address.tcp)[1]} of {own_host} is open to the network. Whoever has "
            "the token can run programs as you, on every machine of the cluster.\n"
        )
        if not secure:
            text += (
                "WARNING: without TLS, whoever is on the way between the machines can read and change what they send, "
                "and so run programs, too. Use a network that you trust, or TLS: `cluster token --new-ca` begins "
                "that.\n"
            )
    return text
