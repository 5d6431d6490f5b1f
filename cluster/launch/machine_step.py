"""What launching is made of: to list, make and end machines, with the provider's errors told to people."""

import secrets
from collections.abc import Callable, Sequence

from ..provider.instance import Instance, NodeType
from ..provider.node_provider import NodeProvider, ProviderError
from ..provider.node_start import NodeStart

Tell = Callable[[str], None]
"""Gets a line for the user about each step."""


class LaunchError(Exception):
    """The cluster could not be brought to where it should be; the message says how far it is, and what to do."""


def new_names(node_type: str, count: int) -> list[str]:
    """Names that no instance had before."""
    request = f"{node_type}-{secrets.token_hex(4)}"
    return [f"{request}-{i}" for i in range(count)]


async def instances_of(provider: NodeProvider) -> list[Instance]:
    """All machines there are.

    Raises:
        LaunchError: the provider cannot be asked.
    """
    try:
        return await provider.instances()
    except ProviderError as error:
        raise LaunchError(str(error)) from error


async def create(
    provider: NodeProvider, node_type: NodeType, names: Sequence[str], start: NodeStart, *, head: bool = False
) -> None:
    """Make machines.

    Raises:
        LaunchError: the provider refuses some.
    """
    made = await provider.create(node_type, names, start, "head" if head else "worker")
    if made.error:
        raise LaunchError(f"{len(made.instances)} of {len(names)} x {node_type.name} were made: {made.error}")


async def end(provider: NodeProvider, instances: Sequence[Instance], tell: Tell) -> None:
    """Have instances end; what the provider refuses is told, and shows in its next listing."""
    try:
        await provider.terminate([one.instance_id for one in instances])
    except ProviderError as error:
        tell(f"not ended yet: {error}")


def names_of(instances: Sequence[Instance]) -> str:
    """For people."""
    return ", ".join(one.name for one in instances)
