"""Making the cluster that a file describes be there, or be gone. Each step may be repeated: what is done is found."""

import asyncio
import itertools
import time
from collections.abc import Sequence

from ..provider.instance import Instance, NodeType
from ..provider.node_provider import NodeProvider
from .cluster_file import ClusterFile
from .head_election import LOOK_S, HeadElection
from .machine_step import LaunchError, Tell, create, end, instances_of, names_of

_EMPTY = 2
"""So many listings in a row must be empty: a machine that the head asked for at its end is listed a moment later."""

_RENEW = """
[ -e {file} ] || {{ echo none; exit 0; }}
[ "$(cat {file})" = "$(printf '%s' "$1")" ] && exit 0
umask 077
printf '%s' "$1" >{file}.new && mv {file}.new {file} && echo changed
"""


async def up(file: ClusterFile, token: str, tell: Tell) -> Instance:
    """Have the head run, and each type's `min_workers` beside it, which it adds itself where the file has more to add.

    What runs already stays, and a head that does goes by the file as it is now.

    Args:
        file: what there should be.
        token: the cluster's secret.
        tell: see there.

    Returns:
        The head's machine.

    Raises:
        LaunchError: the provider refuses, or a machine does not come; what was made stays, for `down` or another `up`.
    """
    provider = file.provider()
    try:
        election = HeadElection(file, provider, token, tell)
        head = await election.head()
        tell(f"the head runs at {head.address}:{file.section.head_port}")
        made = election.made == head.name
        adds = file.is_elastic() if made else await _renew(file, provider, head, tell)
        if adds:  # if this made some, too, there would be twice as many
            tell("the head adds the other machines: `cluster status` there shows them")
        else:
            await _complete(file, provider, head, token, tell)
        return head
    finally:
        await provider.close()


async def down(file: ClusterFile, tell: Tell, timeout: float = 600.0) -> int:  # noqa: ASYNC109
    """End all machines of the cluster and wait until they are gone, with those that its head still adds meanwhile.

    Returns:
        How many there were.

    Raises:
        LaunchError: the provider refuses, or some are still there after `timeout` seconds, or may be.
    """
    provider = file.provider()
    try:
        seen: set[str] = set()
        deadline = time.monotonic() + timeout
        empty = 0
        while empty < (_EMPTY if seen else 1):
            left = sorted(await instances_of(provider), key=lambda one: one.role)  # the head first: it may add machines
            if new := [one for one in left if one.name not in seen]:
                tell(f"ending {_counted(new)}: {names_of(new)}")
                seen.update(one.name for one in new)
            if left and time.monotonic() > deadline:
                raise LaunchError(f"Still there after {timeout:g} s: {names_of(left)}. Run `cluster down` again.")
            await end(provider, [one for one in left if one.state != "ending"], tell)
            empty = 0 if left else empty + 1
            if seen:
                await asyncio.sleep(LOOK_S)
        if provider.unseen:
            raise LaunchError(
                f"What may run elsewhere was not ended. {provider.unseen}. Then run `cluster down` again."
            )
        return len(seen)
    finally:
        await provider.close()


async def head_command(file: ClusterFile, command: Sequence[str], *, terminal: bool) -> list[str]:
    """What to run here to run `command` (or a shell, where it is empty) on the head's machine.

    Raises:
        LaunchError: the cluster has no running head.
    """
    provider = file.provider()
    try:
        heads = [one for one in await instances_of(provider) if one.role == "head" and one.state == "running"]
        if not heads:
            raise LaunchError(f"The cluster {file.name!r} has no running head: `cluster up` makes one.")
        return provider.shell_command(heads[0], command, terminal=terminal)
    finally:
        await provider.close()


async def _complete(file: ClusterFile, provider: NodeProvider, head: Instance, token: str, tell: Tell) -> None:
    """Have each type's `min_workers` be there, for a head that adds none. Those that have failed are cleared away.

    Who types `cluster up` at the same time finds the same missing, and asks for the same names: they are made once.
    """
    there = await instances_of(provider)
    failed = [one for one in there if one.role == "worker" and one.state == "failed"]
    if failed:
        tell(f"ending what has failed: {names_of(failed)}: {failed[0].text}")
        await end(provider, failed, tell)
    start = file.worker_start(token, f"{head.address}:{file.section.head_port}")
    for node_type in file.node_types.values():
        alive = [one for one in there if _is_worker(one, node_type) and one.state in {"starting", "running"}]
        missing = node_type.min_workers - len(alive)
        if missing > 0:
            tell(f"making {missing} x {node_type.name} (min_workers is {node_type.min_workers})")
            await create(provider, node_type, _unused(there, node_type, head, missing), start)


async def _renew(file: ClusterFile, provider: NodeProvider, head: Instance, tell: Tell) -> bool:
    """Have a head that ran before go by the file as it is now; returns whether it adds machines."""
    said = await provider.run_command(head, ["sh", "-c", _RENEW.format(file=file.kept), "sh", file.text])
    if "changed" in said:
        tell("the head goes by the file as it is now")
    elif "none" in said and file.is_elastic():
        tell(
            "note: the head was started from a file without machines on demand, and adds none: `cluster down` and "
            "`cluster up` make one that does"
        )
    return "none" not in said


def _unused(there: Sequence[Instance], node_type: NodeType, head: Instance, count: int) -> list[str]:
    """The first names of a head's workers that none bears."""
    request = head.name.removesuffix("-0").rpartition("-")[2]
    names = (f"{node_type.name}-{request}-w{i}" for i in itertools.count())
    taken = {one.name for one in there}
    return list(itertools.islice((name for name in names if name not in taken), count))


def _is_worker(instance: Instance, node_type: NodeType) -> bool:
    return instance.role == "worker" and instance.node_type == node_type.name


def _counted(instances: Sequence[Instance]) -> str:
    workers = sum(one.role == "worker" for one in instances)
    head = "the head" if workers < len(instances) else ""
    return " and ".join(filter(None, [f"{workers} machine{'' if workers == 1 else 's'}" if workers else "", head]))
