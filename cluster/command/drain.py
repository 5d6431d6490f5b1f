"""`cluster drain NODE`: have a node end in good order, so that its machine can be taken away."""

import argparse
import math
import sys
from typing import Any

import msgspec

from ...actors.contract import QueryState, decoder_of
from ..client.failure import CommandError
from ..cluster_message import DrainAnswer, DrainNode
from .node_option import add_cluster_options, tls_of

_DEADLINE_S = 3600.0


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "drain",
        help="have a node end when its work is done",
        description="Have a node end in good order: nothing new comes to it, tasks that run there end, actors that may "
        "restart do so elsewhere, objects are copied to other nodes. `cluster status` shows whether it has left.",
    )
    parser.add_argument("node", help="its name, its address, or how its id begins, as `cluster status` shows them")
    parser.add_argument(
        "--deadline", type=_seconds, default=_DEADLINE_S, metavar="SECONDS", help="at most (default: 3600)"
    )
    parser.add_argument("--reason", default="asked for by `cluster drain`", help="for people")
    parser.add_argument("--if-idle", action="store_true", help="only if nobody uses it")
    add_cluster_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from ..client.session_client import ask_head, find_cluster  # with aiohttp; see status.py

    target = find_cluster(options.address, tls_of(options))
    node = _find_node(msgspec.msgpack.decode(ask_head(target, QueryState("nodes"))[0]), options.node)
    order = DrainNode(bytes.fromhex(node["NodeID"]), options.reason, options.deadline, options.if_idle)
    answer: DrainAnswer = decoder_of(DrainAnswer).decode(ask_head(target, order)[0])
    if not answer.accepted:
        raise CommandError(f"Node {node['NodeID'][:12]} ({node['NodeName']}) is not drained: {answer.text}")
    sys.stdout.write(
        f"Node {node['NodeID'][:12]} ({node['NodeName']}) takes nothing new, and ends when its work is done, in "
        f"{options.deadline:g} s at the latest. `cluster status` shows whether it has left.\n"
    )
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write a number of seconds, 0 or more.")
    return seconds


def _find_node(nodes: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    alive = [node for node in nodes if node["Alive"]]
    found = [node for node in alive if wanted in {node["NodeName"], node["NodeManagerAddress"]}]
    found = found or [node for node in alive if node["NodeID"].startswith(wanted)]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"{node['NodeID'][:12]} ({node['NodeName']})" for node in found or alive)
    if found:
        raise CommandError(f"{wanted!r} fits several nodes: {there}. Say more of its id.")
    raise CommandError(f"The cluster has no node {wanted!r}. It has {there}.")
