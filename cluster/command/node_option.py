"""The options that say what a node offers and where it listens, for `cluster start` and `cluster join`."""

import argparse
import ipaddress
import json
from typing import Any

from ...transport.tls import TlsConfig
from ..byte_size import parse_bytes
from ..node.node_config import NodeConfig, spilling_place
from ..tls_folder import AUTHORITY, CERTIFICATE_VARIABLE, KEY_VARIABLE, check_tls, find_tls


def add_node_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a verb's parser."""
    offered = parser.add_argument_group("what this machine offers (unless said otherwise, all that it has)")
    offered.add_argument("--num-cpus", type=float, metavar="N", help="CPUs")
    offered.add_argument("--num-gpus", type=float, metavar="N", help="GPUs")
    offered.add_argument("--memory", type=size, metavar="SIZE", help="memory for tasks and actors, such as 8GiB")
    offered.add_argument(
        "--object-store-memory", type=size, metavar="SIZE", help="memory for objects (default: 30 %% of the memory)"
    )
    offered.add_argument(
        "--object-spilling-directory",
        type=spilling_place,
        default="",
        metavar="PLACE",
        help="where objects go that find no room there: a folder, or a URL such as s3://bucket/prefix "
        "(default: the session's folder)",
    )
    offered.add_argument(
        "--resources", type=amounts, default={}, metavar="JSON", help="""more resources, such as '{"licence": 2}'"""
    )
    offered.add_argument(
        "--labels", type=labels, default={}, metavar="KEY=VALUE,…", help="labels that tasks can ask for"
    )
    offered.add_argument("--node-name", default="", metavar="NAME", help="for people (default: the address)")
    parser.add_argument("--node-port", type=port, default=0, metavar="PORT", help="where this node listens (any free)")
    parser.add_argument("--log-dir", default="", metavar="FOLDER", help="where logs go, and stay")
    parser.add_argument("--block", action="store_true", help="run in the foreground, for systemd and containers")
    add_tls_options(parser)


def add_tls_options(parser: argparse.ArgumentParser) -> None:
    """Add those of TLS."""
    tls = parser.add_argument_group(
        "TLS", "On every machine, or on none. `cluster token --new-ca` makes what is needed, and says what to type."
    )
    tls.add_argument(
        "--tls-cert",
        default="",
        metavar="FILE",
        help=f"this machine's certificate, with the authority's beside it as {AUTHORITY} "
        f"(default: ${CERTIFICATE_VARIABLE})",
    )
    tls.add_argument(
        "--tls-key", default="", metavar="FILE", help=f"the certificate's private key (default: ${KEY_VARIABLE})"
    )


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Add those of a verb that asks a cluster something, for `find_cluster`."""
    parser.add_argument("--address", default="", help="of the head (default: this machine's cluster)")
    add_tls_options(parser)


def tls_of(options: argparse.Namespace, host: str = "") -> TlsConfig | None:
    """What the TLS options say; `host`: where this machine listens, for which the certificate must be good.

    Raises:
        TlsFileError: the files cannot be used.
    """
    found = find_tls(options.tls_cert, options.tls_key)
    if found is not None and host:
        check_tls(found, host)
    return found


def node_config(options: argparse.Namespace, **more: Any) -> NodeConfig:
    """The config of a node with these options."""
    return NodeConfig(
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        memory=options.memory,
        object_store_memory=options.object_store_memory,
        spilling=options.object_spilling_directory,
        resources=options.resources,
        labels=options.labels,
        name=options.node_name,
        log_folder=options.log_dir,
        **more,
    )


def host(text: str) -> str:
    """A host, also as people write it before a port: [::1]."""
    name = text.removeprefix("[").removesuffix("]")
    if not name or "/" in name or (":" in name and not _is_address(name)):
        raise argparse.ArgumentTypeError(f"{text!r} is no host: write a name or an address, and no port.")
    return name


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def size(text: str) -> int:
    """A number of bytes."""
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def amounts(text: str) -> dict[str, float]:
    """Resources, written as JSON."""
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"""{text!r} is not JSON ({error}): write them so: '{{"licence": 2}}'"""
        ) from None
    if not isinstance(found, dict) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in found.values()
    ):
        raise argparse.ArgumentTypeError(f"""{text!r}: each resource needs a number, such as {{"licence": 2}}.""")
    return {str(name): float(value) for name, value in found.items()}


def labels(text: str) -> dict[str, str]:
    """Labels, written as key=value with commas between them."""
    found: dict[str, str] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise argparse.ArgumentTypeError(f"{pair!r} is no label: write key=value, and commas between several.")
        if key.strip() in found:
            raise argparse.ArgumentTypeError(f"{text!r} has two values for {key.strip()!r}: a label has one.")
        found[key.strip()] = value.strip()
    return found


def port(text: str) -> int:
    """A port."""
    if not text.isdecimal() or int(text) > 65535:  # noqa: PLR2004 - the largest there is
        raise argparse.ArgumentTypeError(f"{text!r} is no port: that is a number up to 65535.")
    return int(text)


def boolean(text: str) -> bool:
    """True or false, as Ray's commands take them, too."""
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false.")
    return known[text.lower()]
