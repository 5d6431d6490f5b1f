"""Making the cluster that a file describes be there, or be gone. Each step may be repeated: what is done is found."""

import asyncio
import secrets
import shlex
import time
from collections.abc import Callable, Sequence

from ..provider.instance import Instance, NodeType
from ..provider.node_provider import NodeProvider, ProviderError
from ..provider.node_start import NodeStart, shell_words
from .cluster_file import ClusterFile

_LOOK_S = 0.5

_EMPTY = 2
"""So many listings in a row must be empty: a machine that the head asked for at its end is listed a moment later."""

_RENEW = """
[ -e {file} ] || {{ echo none; exit 0; }}
[ "$(cat {file})" = "$(printf '%s' "$1")" ] && exit 0
umask 077
printf '%s' "$1" >{file}.new && mv {file}.new {file} && echo changed
"""

Tell = Callable[[str], None]
"""Gets a line for the user about each step."""


class LaunchError(Exception):
    """The cluster could not be brought to where it should be; the message says how far it is, and what to do."""


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
        head, adds = await _head(file, provider, token, tell)
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
            left = sorted(await _instances(provider), key=lambda one: one.role)  # the head first: it may add machines
            if new := [one for one in left if one.name not in seen]:
                tell(f"ending {_counted(new)}: {_names(new)}")
                seen.update(one.name for one in new)
            if left and time.monotonic() > deadline:
                raise LaunchError(f"Still there after {timeout:g} s: {_names(left)}. Run `cluster down` again.")
            await _end(provider, [one for one in left if one.state != "ending"], tell)
            empty = 0 if left else empty + 1
            if seen:
                await asyncio.sleep(_LOOK_S)
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
        heads = [one for one in await _instances(provider) if one.role == "head" and one.state == "running"]
        if not heads:
            raise LaunchError(f"The cluster {file.name!r} has no running head: `cluster up` makes one.")
        return provider.shell_command(heads[0], command, terminal=terminal)
    finally:
        await provider.close()


def new_names(node_type: str, count: int) -> list[str]:
    """Names that no instance had before."""
    request = f"{node_type}-{secrets.token_hex(4)}"
    return [f"{request}-{i}" for i in range(count)]


async def _head(file: ClusterFile, provider: NodeProvider, token: str, tell: Tell) -> tuple[Instance, bool]:
    """The head's machine, which answers; and whether it adds the others."""
    name, ran_before = await _head_name(file, provider, token, tell)
    deadline = time.monotonic() + 60 * file.section.launch_timeout_minutes
    problem = "it is not running yet"
    while time.monotonic() < deadline:
        head = next((one for one in await _instances(provider) if one.name == name), None)
        if head is None:
            raise LaunchError(f"The head's machine {name} is gone. Run `cluster up` again.")
        if head.state == "failed":
            raise LaunchError(
                f"The head's machine {name} has failed: {head.text}. Mend that and run `cluster up` again."
            )
        problem = head.text or problem
        if head.state == "running" and head.address:
            address = f"{head.address}:{file.section.head_port}"
            try:
                asks = f"exec {shell_words(file.section.program)} status --address {shlex.quote(address)}"
                await provider.run_command(head, ["sh", "-c", asks])
            except ProviderError as error:
                problem = str(error)
            else:
                tell(f"the head runs at {address}")
                return head, await _renew(file, provider, head, tell) if ran_before else file.is_elastic()
        await asyncio.sleep(_LOOK_S)
    raise LaunchError(
        f"The head's machine {name} has not answered within {file.section.launch_timeout_minutes:g} minutes: {problem}"
    )


async def _head_name(file: ClusterFile, provider: NodeProvider, token: str, tell: Tell) -> tuple[str, bool]:
    """The head's machine, and whether it was there before; made where there is none."""
    there = [one for one in await _instances(provider) if one.role == "head"]
    failed = [one for one in there if one.state == "failed"]
    if failed:
        tell(f"ending what has failed: {_names(failed)}: {failed[0].text}")
        await _end(provider, failed, tell)
    for one in there:
        if one.state in {"starting", "running"}:
            return one.name, True
    if provider.unseen:
        tell(f"note: a head that runs elsewhere would not be seen: {provider.unseen}")
    node_type = file.head_type()
    [name] = new_names(node_type.name, 1)
    tell(f"making the head: {name}")
    await _create(provider, node_type, [name], file.head_start(token), head=True)
    return name, False


async def _create(
    provider: NodeProvider, node_type: NodeType, names: Sequence[str], start: NodeStart, *, head: bool = False
) -> None:
    made = await provider.create(node_type, names, start, "head" if head else "worker")
    if made.error:
        raise LaunchError(f"{len(made.instances)} of {len(names)} x {node_type.name} were made: {made.error}")


async def _complete(file: ClusterFile, provider: NodeProvider, head: Instance, token: str, tell: Tell) -> None:
    """Have each type's `min_workers` be there, for a head that adds none. Those that have failed are cleared away."""
    there = await _instances(provider)
    failed = [one for one in there if one.role == "worker" and one.state == "failed"]
    if failed:
        tell(f"ending what has failed: {_names(failed)}: {failed[0].text}")
        await _end(provider, failed, tell)
    start = file.worker_start(token, f"{head.address}:{file.section.head_port}")
    for node_type in file.node_types.values():
        alive = [one for one in there if _is_worker(one, node_type) and one.state in {"starting", "running"}]
        missing = node_type.min_workers - len(alive)
        if missing > 0:
            tell(f"making {missing} x {node_type.name} (min_workers is {node_type.min_workers})")
            await _create(provider, node_type, new_names(node_type.name, missing), start)


async def _end(provider: NodeProvider, instances: Sequence[Instance], tell: Tell) -> None:
    """Have instances end; what the provider refuses is told, and shows in its next listing."""
    try:
        await provider.terminate([one.instance_id for one in instances])
    except ProviderError as error:
        tell(f"not ended yet: {error}")


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


async def _instances(provider: NodeProvider) -> list[Instance]:
    try:
        return await provider.instances()
    except ProviderError as error:
        raise LaunchError(str(error)) from error


def _is_worker(instance: Instance, node_type: NodeType) -> bool:
    return instance.role == "worker" and instance.node_type == node_type.name


def _names(instances: Sequence[Instance]) -> str:
    return ", ".join(one.name for one in instances)


def _counted(instances: Sequence[Instance]) -> str:
    workers = sum(one.role == "worker" for one in instances)
    head = "the head" if workers < len(instances) else ""
    return " and ".join(filter(None, [f"{workers} machine{'' if workers == 1 else 's'}" if workers else "", head]))
