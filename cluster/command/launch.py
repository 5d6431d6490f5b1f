"""`cluster up|down|exec|attach FILE`: a cluster that a file describes."""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..client.failure import CommandError
from ..token_file import make_token

if TYPE_CHECKING:
    from ..launch.cluster_file import ClusterFile

# What the verbs need is imported where they run: the command's other verbs do without all of that.

Result = TypeVar("Result")


def add_parser(verbs: Any) -> None:
    """Add the verbs."""
    for name, run, about in (
        ("up", _up, "make the machines of a cluster that a file describes"),
        ("down", _down, "end them"),
        ("attach", _attach, "open a shell on the head's machine"),
        ("exec", _exec, "run a command on the head's machine"),
    ):
        parser: argparse.ArgumentParser = verbs.add_parser(name, help=about, description=f"{about.capitalize()}.")
        parser.add_argument("file", help="the cluster's file: see docs/cluster-yaml.md")
        if name == "exec":
            parser.add_argument("command", nargs=argparse.REMAINDER, help="the program and its arguments")
        parser.set_defaults(run=run)


def _up(options: argparse.Namespace) -> int:
    from ..launch.launcher import up

    file = read_file(options.file)
    head = _run(up(file, make_token(), _tell))
    _tell(f"The cluster {file.name!r} is up. Its head is at {head.address}:{file.section.head_port}.")
    for text, verb in (
        ("to run a program there", f"exec {options.file} python program.py"),
        ("to look around", f"attach {options.file}"),
        ("to end it", f"down {options.file}"),
    ):
        _tell(f"  {text:24} cluster {verb}")
    return 0


def _down(options: argparse.Namespace) -> int:
    from ..launch.launcher import down

    file = read_file(options.file)
    count = _run(down(file, _tell))
    _tell(f"The cluster {file.name!r} is gone." if count else f"The cluster {file.name!r} has no machines.")
    return 0


def _exec(options: argparse.Namespace) -> int:
    from ..launch.launcher import head_command

    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise CommandError("Say what to run: cluster exec FILE PROGRAM ARGUMENT…")
    line = _run(head_command(read_file(options.file), command, terminal=sys.stdin.isatty() and sys.stdout.isatty()))
    return _become(line)


def _attach(options: argparse.Namespace) -> int:
    from ..launch.launcher import head_command

    return _become(_run(head_command(read_file(options.file), [], terminal=True)))


def _become(line: list[str]) -> int:
    """Run a program in the foreground, here or by way of ssh and its like; its exit code."""
    try:
        return subprocess.run(line, check=False).returncode
    except OSError as error:
        shell = " A line for a shell is written: sh -c 'LINE'." if " " in line[0] else ""
        raise CommandError(f"{line[0]!r} cannot be run on this machine: {error.strerror}.{shell}") from None


def read_file(path: str | Path) -> "ClusterFile":
    """A cluster's file.

    Raises:
        CommandError: it cannot be used; says why, and in which line.
    """
    from ..launch.cluster_file import read_cluster_file
    from ..launch.document import DocumentError, PackageMissingError

    try:
        return read_cluster_file(path)
    except PackageMissingError as error:
        raise CommandError(str(error)) from None
    except DocumentError as error:
        raise CommandError(f"this file will not do:\n{error}") from None


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    from ..launch.machine_step import LaunchError
    from ..provider.node_provider import ProviderError

    try:
        return asyncio.run(work)
    except (LaunchError, ProviderError) as error:
        raise CommandError(str(error)) from None


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
