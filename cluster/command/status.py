"""`cluster status`: the nodes of a cluster, and what of them is in use."""

import argparse
import sys
from typing import Any

import msgspec

from ...actors.contract import QueryState
from ...actors.ids import NODE_ID_LABEL
from ...exceptions.death import format_bytes
from .node_option import add_cluster_options, tls_of
from .table import table

_BYTES = {"memory", "object_store_memory"}
_UNIT = 10_000


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "status", help="show a cluster's nodes and what is in use", description="Show a cluster's nodes."
    )
    add_cluster_options(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from ..client.session_client import (
        ask_head,
        find_cluster,
    )  # with aiohttp: the other verbs begin twice as fast without

    target = find_cluster(options.address, tls_of(options))
    kinds = ("nodes", "cluster_resources", "available_resources", "autoscaler", "trouble")
    answers = ask_head(target, *(QueryState(kind) for kind in kinds))
    nodes, total, available, scaling, trouble = (msgspec.msgpack.decode(answer) for answer in answers)
    sys.stdout.write(render(target.cluster, nodes, total, available) + "\n")
    if trouble:
        sys.stdout.write(f"\nThe head cannot keep what it decides, so what is new waits: {trouble}\n")
    if scaling:
        sys.stdout.write("\nMachines on demand:\n" + "".join(f"  {line}\n" for line in scaling))
    return 0


def render(address: str, nodes: list[dict[str, Any]], total: dict[str, int], available: dict[str, int]) -> str:
    """The whole page."""
    alive = [node for node in nodes if node["Alive"]]
    dead = [node for node in nodes if not node["Alive"]]
    lines = [f"The cluster at {address}: {len(alive)} node{'' if len(alive) == 1 else 's'}.", ""]
    rows = [
        [node["NodeID"][:12], node["NodeName"], *_offered(node["Resources"]), _labels(node["Labels"])] for node in alive
    ]
    lines += [table(["NODE", "NAME", "CPU", "GPU", "MEMORY", "OBJECTS", "LABELS"], rows), ""]
    used = [
        [kind, _amount(kind, units - available.get(kind, 0)), _amount(kind, units)]
        for kind, units in sorted(total.items())
        if not kind.startswith("node:")
    ]
    lines.append(table(["RESOURCE", "IN USE", "OF"], used))
    leaving = [(node, f"it is drained ({node['DrainReason']})") for node in alive if node.get("Draining")]
    if leaving:
        lines += ["", _reasons("LEAVING", leaving)]
    if dead:
        lines += ["", _reasons("GONE", [(node, str(node["DeathReasonMessage"])) for node in dead])]
    return "\n".join(lines)


def _reasons(title: str, nodes: list[tuple[dict[str, Any], str]]) -> str:
    """Why which nodes are no more, or soon: in a few words, with all that is known below."""
    reasons = {node["NodeID"][:12]: reason for node, reason in nodes}
    rows = [[node["NodeID"][:12], node["NodeName"], _brief(reason)] for node, reason in nodes]
    shown = table([title, "NAME", "WHY"], rows)
    notes = [f"{name}: {reason}" for name, reason in reasons.items() if reason not in shown]
    return "\n".join([shown, *(["", *notes] if notes else [])])


def _brief(reason: str) -> str:
    return reason.partition(": ")[0]


def _offered(resources: dict[str, float]) -> list[str]:
    sizes = [format_bytes(int(resources.get(kind, 0))) for kind in ("memory", "object_store_memory")]
    return [f"{resources.get('CPU', 0):g}", f"{resources.get('GPU', 0):g}", *sizes]


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()) if key != NODE_ID_LABEL)


def _amount(kind: str, units: int) -> str:
    return format_bytes(units // _UNIT) if kind in _BYTES else f"{units / _UNIT:g}"
