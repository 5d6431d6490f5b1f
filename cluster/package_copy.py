"""Copying a package from a process that has it; its name says whether what came is what was wanted."""

import asyncio
from typing import Any, Protocol

from ..actors.contract import ReadPackage
from ..transport.address import ProcessAddress
from .package_store import PackageStore

_ASK_S = 30.0
CHUNK = 4 << 20
"""Bytes that are asked for at a time, at most."""


class Asking(Protocol):
    """A process that can ask others."""

    async def request(self, address: ProcessAddress, actor: str, body: Any, timeout: float) -> bytes:  # noqa: ASYNC109
        """See `SystemProcess.request`."""
        ...


async def copy_package(
    process: Asking, uri: str, source: ProcessAddress, actor: str, store: PackageStore, patience: float = _ASK_S
) -> None:
    """Copy a package into a store.

    Args:
        process: this one.
        uri: names its content ("pkg://").
        source: the process that has it.
        actor: that process's, which answers `ReadPackage`.
        store: of this process.
        patience: seconds that the other one may take over each part.

    Raises:
        TransportError: the other one is out of reach, or does not have it.
        ValueError: what came is not what the URI says. OSError: it cannot be written.
    """
    with store.workplace(".zip") as arriving:
        offset = 0
        with arriving.open("wb") as file:
            while part := await process.request(source, actor, ReadPackage(uri, offset, CHUNK), patience):
                offset += len(part)
                await asyncio.to_thread(file.write, part)
        await asyncio.to_thread(store.put, uri, arriving)
