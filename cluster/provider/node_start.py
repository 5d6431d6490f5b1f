"""What runs on a new machine: a shell script that sets up and becomes the node's process.

The token is never an argument of a program: the scripts write it to a private file with the shell's own `printf`, or
find it in one, and name that file in LIMELIGHT_TOKEN_FILE.
"""

import shlex
from collections.abc import Sequence

import msgspec

from ..scheduling.resources import BYTES, UNIT, ResourceSet
from ..token_file import FILE_VARIABLE
from .instance import NodeType, Role

OWN_ADDRESS = "$(hostname -I | cut -d' ' -f1)"
"""A machine's first address, as its shell finds it."""


class NodeStart(msgspec.Struct, frozen=True, kw_only=True):
    """How a machine becomes a node.

    Attributes:
        head: the head's "host:port", for workers.
        token: the cluster's secret, in hexadecimal.
        host: the machine's address for the others; "": of a head the first it has, of a worker what the head sees.
        port: where a head listens; 0: where heads do.
        setup: shell commands to run first, in order; one that fails ends it.
        environment: variables for the node's process.
        program: what the `cluster` command is called there; words that begin with "~/" are in the home folder there.
        arguments: more arguments for it.
    """

    head: str = ""
    token: str = ""
    host: str = ""
    port: int = 0
    setup: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    program: tuple[str, ...] = ("cluster",)
    arguments: tuple[str, ...] = ()


def node_script(node_type: NodeType, name: str, start: NodeStart, role: Role, token_file: str, ready: str = "") -> str:
    """Lines for `sh` that set up and become the node: in the foreground, so that its end is the instance's.

    Args:
        node_type: says what it offers.
        name: the instance's.
        start: see there.
        role: whether it is the head's machine.
        token_file: where the token lies, as the shell writes it.
        ready: a command for when the set-up is done.
    """
    lines = ["set -eu", f"export {FILE_VARIABLE}={token_file}"]
    lines += [f"export {variable}={shlex.quote(value)}" for variable, value in start.environment.items()]
    lines += [*start.setup, *filter(None, [ready]), 'cd "$HOME"', f"exec {_command(node_type, name, start, role)}"]
    return "\n".join(lines) + "\n"


def token_lines(start: NodeStart, token_file: str) -> str:
    """Lines for `sh` that write the token where only this user reads it."""
    quoted = shlex.quote(start.token)
    return f"(umask 077; mkdir -p \"$(dirname {token_file})\"; printf '%s\\n' {quoted} >{token_file})\n"


def shell_words(words: Sequence[str]) -> str:
    """Words as `sh` reads them on the machine: "~/" is the home folder there, and nothing else has a meaning."""
    return " ".join(
        f'"$HOME"/{shlex.quote(word[2:])}' if word.startswith("~/") else shlex.quote(word) for word in words
    )


def _command(node_type: NodeType, name: str, start: NodeStart, role: Role) -> str:
    words = [*(["start", "--head"] if role == "head" else ["join", start.head]), "--block"]
    words += ["--node-name", name, *_offer(node_type.resources)]
    labels = ",".join(f"{key}={value}" for key, value in sorted(node_type.node_labels(name).items()))
    words += ["--labels", labels]
    words += ["--port", str(start.port)] if role == "head" and start.port else []
    line = f"{shell_words(start.program)} {shlex.join([*words, *start.arguments])}"
    if start.host:
        line += f" --host {shlex.quote(start.host)}"
    elif role == "head":
        line += f' --host "{OWN_ADDRESS}"'
    return line


def _offer(resources: ResourceSet) -> list[str]:
    """Resources as the command takes them. What is not said is found out on the machine."""
    options = {"CPU": "--num-cpus", "GPU": "--num-gpus", **{kind: f"--{kind.replace('_', '-')}" for kind in BYTES}}
    words: list[str] = []
    others: dict[str, float] = {}
    for kind, units in resources.amounts:
        if kind in options:
            words += [options[kind], str(units // UNIT) if kind in BYTES else f"{units / UNIT:g}"]
        else:
            others[kind] = units / UNIT
    return [*words, "--resources", msgspec.json.encode(others, order="sorted").decode()] if others else words
