"""What runs on a new machine: a shell script that keeps the token private, sets up, and becomes the node's process."""

import shlex
from collections.abc import Mapping

import msgspec

from ..scheduling.resources import BYTES, UNIT, ResourceSet
from .instance import NodeType, Role


class NodeStart(msgspec.Struct, frozen=True, kw_only=True):
    """How a machine becomes a node.

    Attributes:
        head: the head's "host:port", for workers.
        token: the cluster's secret, in hexadecimal.
        setup: shell commands to run first, in order; one that fails ends it.
        environment: variables for the node's process.
        program: what the `cluster` command is called there.
        arguments: more arguments for it.
    """

    head: str = ""
    token: str = ""
    setup: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    program: tuple[str, ...] = ("cluster",)
    arguments: tuple[str, ...] = ()


def node_command(node_type: NodeType, name: str, start: NodeStart, role: Role) -> list[str]:
    """The program that is the node: in the foreground, so that its end is the instance's."""
    first = ["start", "--head"] if role == "head" else ["join", start.head]
    amounts, others = _split(node_type.resources)
    command = [*start.program, *first, "--block", "--node-name", name]
    for option, kind in (("--num-cpus", "CPU"), ("--num-gpus", "GPU"), ("--memory", "memory")):
        if kind in amounts:
            command += [option, amounts[kind]]
    if "object_store_memory" in amounts:
        command += ["--object-store-memory", amounts["object_store_memory"]]
    if others:
        command += ["--resources", msgspec.json.encode(others, order="sorted").decode()]
    labels = node_type.node_labels(name)
    return [*command, "--labels", msgspec.json.encode(labels, order="sorted").decode(), *start.arguments]


def setup_script(start: NodeStart, token_file: str, *, write_token: bool = True) -> str:
    """The lines that come before the node's program: for `sh`, and safe to read by whoever may have the token.

    Args:
        start: see there.
        token_file: where the token is to lie, as the shell may write it ("$HOME/...").
        write_token: false where it lies there already.
    """
    lines = ["set -eu", "umask 077"]
    if write_token and start.token:
        lines.append(f'mkdir -p "$(dirname {token_file})"')
        # printf is the shell's own: its arguments stand in no process list
        lines.append(f"printf '%s\\n' {shlex.quote(start.token)} >{token_file}")
    lines.append(f"export LIMELIGHT_TOKEN_FILE={token_file}")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in start.environment.items()]
    return "\n".join([*lines, "umask 022", *start.setup]) + "\n"


def _split(resources: ResourceSet) -> tuple[Mapping[str, str], dict[str, float]]:
    """What the command has options for, as text, and what it has none for."""
    known: dict[str, str] = {}
    others: dict[str, float] = {}
    for kind, units in resources.amounts:
        if kind in BYTES:
            known[kind] = str(units // UNIT)
        elif kind in {"CPU", "GPU"}:
            known[kind] = f"{units / UNIT:g}"
        else:
            others[kind] = units / UNIT
    return known, others
