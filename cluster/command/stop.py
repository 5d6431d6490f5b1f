"""`cluster stop`: ends what `cluster start` and `cluster join` have started on this machine."""

import argparse
import signal
import sys
from typing import Any

from ..client.failure import CommandError
from ..client.running import ClusterProcess, cluster_processes, wait_for_ends
from ..process.last_step import last_step
from ..session_info import SessionFolderError, read_token

_PATIENCE_S = 15.0


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "stop",
        help="end this machine's part of a cluster",
        description="End this machine's node. On the head's machine, end the whole cluster. Programs that started "
        "sessions of their own are left alone.",
    )
    parser.add_argument("--force", action="store_true", help="kill what does not end within seconds")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    processes = cluster_processes()
    if not processes:
        sys.stdout.write("No cluster of yours runs on this machine.\n")
        return 0
    over = [process for process in processes if process.info.kind == "head" and _end_cluster(process)]
    for process in processes:
        process.signal(signal.SIGTERM)
    left = wait_for_ends(processes, 2.0 if options.force else _PATIENCE_S)
    if left and options.force:
        for process in left:
            process.signal(signal.SIGKILL)
        left = wait_for_ends(left, _PATIENCE_S)
    if left:
        raise CommandError(" ".join(map(_held_up, left)) + " `cluster stop --force` kills it.")
    *first, last = (process.what for process in processes)
    names = f"{', '.join(first)} and {last}" if first else last
    sys.stdout.write(f"Stopped {names}.{' The nodes on other machines end, too.' if over else ''}\n")
    return 0


def _held_up(process: ClusterProcess) -> str:
    """That a process does not end, and what it is at, as far as it has said so."""
    step = last_step(process.log)
    at = f'It is at this: "{step}".' if step else "It has not begun to, as far as its log says."
    return f"{process.what} has not ended within {_PATIENCE_S:g} s. {at} Its log: {process.log}."


def _end_cluster(process: ClusterProcess) -> bool:
    """Have a head tell its nodes that the cluster is over; False where it stands by, or does not answer."""
    if process.info.node is None:
        return False
    from ..client.session_client import Target, ask_head  # with aiohttp: a node's end is told without
    from ..cluster_message import EndCluster

    try:
        ask_head(Target(process.info.node, read_token(process.folder), process.info.address), EndCluster())
    except (CommandError, SessionFolderError) as error:
        sys.stderr.write(f"Note: {process.what} did not end the cluster: {error}\n")
        return False
    return True
