"""Making the cluster that a file describes be there, or be gone. Each step may be repeated: what is done is found."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence

from ..provider.instance import Instance, NodeType
from ..provider.node_provider import NodeProvider, ProviderError
from ..provider.node_start import NodeStart
from .cluster_file import ClusterFile

_LOOK_S = 0.5

Tell = Callable[[str], None]
"""Gets a line for the user about each step."""


class LaunchError(Exception):
    """The cluster could not be brought to where it should be; the message says how far it is, and what to do."""


async def up(file: ClusterFile, token: str, tell: Tell) -> Instance:
    """Have the head run, and each type's `min_workers` beside it. What runs already stays.

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
        head = await _head(file, provider, token, tell)
        address = f"{head.address}:{file.section.head_port}"
        there = await _instances(provider)
        start = file.worker_start(token, address)
        for node_type in file.node_types.values():
            alive = [one for one in there if _is_worker(one, node_type) and one.state in {"starting", "running"}]
            missing = node_type.min_workers - len(alive)
            if missing > 0:
                tell(f"making {missing} x {node_type.name} (min_workers is {node_type.min_workers})")
                await _create(provider, node_type, new_names(node_type.name, missing), start)
        return head
    finally:
        await provider.close()


async def down(file: ClusterFile, tell: Tell, timeout: float = 600.0) -> int:  # noqa: ASYNC109
    """End all machines of the cluster, the head's last, and wait until they are gone; returns how many there were.

    Raises:
        LaunchError: the provider refuses, or some are still there after `timeout` seconds.
    """
    provider = file.provider()
    try:
        there = await _instances(provider)
        deadline = time.monotonic() + timeout
        for role in ("worker", "head"):
            left = [one for one in there if one.role == role]
            if left:
                tell(f"ending {len(left)} {'machines' if role == 'worker' else 'head'}: {_names(left)}")
            while left:
                ids = [one.instance_id for one in left if one.state != "ending"]
                try:
                    await provider.terminate(ids)
                except ProviderError as error:
                    tell(f"not ended yet: {error}")
                left = [one for one in await _instances(provider) if one.role == role]
                if left and time.monotonic() > deadline:
                    raise LaunchError(f"Still there after {timeout:g} s: {_names(left)}. Run `cluster down` again.")
                if left:
                    await asyncio.sleep(_LOOK_S)
        return len(there)
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


async def _head(file: ClusterFile, provider: NodeProvider, token: str, tell: Tell) -> Instance:
    """The head's machine, which answers."""
    there = [one for one in await _instances(provider) if one.role == "head"]
    failed = [one for one in there if one.state == "failed"]
    if failed:
        tell(f"ending what has failed: {_names(failed)}: {failed[0].text}")
        await provider.terminate([one.instance_id for one in failed])
    name = next((one.name for one in there if one.state in {"starting", "running"}), None)
    if name is None:
        node_type = file.head_type()
        [name] = new_names(node_type.name, 1)
        tell(f"making the head: {name}")
        await _create(provider, node_type, [name], file.head_start(token), head=True)
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
                await provider.run_command(head, [*file.section.program, "status", "--address", address])
            except ProviderError as error:
                problem = str(error)
            else:
                tell(f"the head runs at {address}")
                return head
        await asyncio.sleep(_LOOK_S)
    raise LaunchError(
        f"The head's machine {name} has not answered within {file.section.launch_timeout_minutes:g} minutes: {problem}"
    )


async def _create(
    provider: NodeProvider, node_type: NodeType, names: Sequence[str], start: NodeStart, *, head: bool = False
) -> None:
    made = await provider.create(node_type, names, start, "head" if head else "worker")
    if made.error:
        raise LaunchError(f"{len(made.instances)} of {len(names)} x {node_type.name} were made: {made.error}")


async def _instances(provider: NodeProvider) -> list[Instance]:
    try:
        return await provider.instances()
    except ProviderError as error:
        raise LaunchError(str(error)) from error


def _is_worker(instance: Instance, node_type: NodeType) -> bool:
    return instance.role == "worker" and instance.node_type == node_type.name


def _names(instances: Sequence[Instance]) -> str:
    return ", ".join(one.name for one in instances)
