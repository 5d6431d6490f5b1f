"""What answers in a process that stands by for the head."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...actors.contract import HEAD, decoder_of
from ...actors.serialization import serialize_error
from ...exceptions import RaySystemError
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call
from ..cluster_message import EndCluster, KeepPackages
from ..package_copy import copy_package
from ..package_store import PackageStore
from ..system_process import Arrived, SystemActor, SystemProcess

logger = logging.getLogger(__name__)


class Standby(SystemActor):
    """Sends everybody on to the head, copies the packages of its jobs, and ends with the cluster.

    Args:
        process: it lives in.
        packages: a folder for packages, which may exist.
        leader: where the head is.
        over: called when the head says that the cluster is over.
    """

    name = HEAD

    def __init__(
        self, process: SystemProcess, packages: Path, leader: Callable[[], str], over: Callable[[], None]
    ) -> None:
        super().__init__(asyncio.get_running_loop())
        self._process = process
        self._packages = packages
        self._opened: PackageStore | None = None
        self._copying = asyncio.Lock()
        self._leader = leader
        self._over = over

    def close(self) -> None:
        """Let go of all packages: this process leads from now on, or ends."""
        if self._opened is not None:
            self._opened.close()

    def on_receive(self, message: Any) -> None:
        """Refuse a call. What comes without a question comes from the head."""
        match message:
            case Arrived(_, call) if call.method == EndCluster.__name__ and not call.call_id:
                self._over()
            case Arrived(channel, call) if call.method == KeepPackages.__name__ and call.call_id:
                self._process.spawn(self._keep(channel, call))
            case Arrived(channel, call) if call.call_id:
                told = RaySystemError(f"This head stands by; the one that leads is at {self._leader()}: ask that.")
                channel.reply(call.call_id, serialize_error(told), failed=True)
            case _:
                pass

    async def _keep(self, channel: Channel, call: Call) -> None:
        """Copy what is not here from the head that asks for it."""
        wanted: KeepPackages = decoder_of(KeepPackages).decode(call.body)
        missed = ""
        async with self._copying:  # what is asked for twice is copied once
            for uri in wanted.uris:
                try:
                    if self._opened is None:
                        self._opened = await asyncio.to_thread(PackageStore, self._packages)
                    if not await asyncio.to_thread(self._opened.has, uri):
                        await copy_package(self._process, uri, channel.peer, HEAD, self._opened)
                except (TransportError, ValueError, OSError) as error:
                    logger.warning("the package %s could not be copied from the head: %s", uri, error)
                    missed = f"{uri}: {error}"
        if missed:
            channel.reply(call.call_id, serialize_error(RaySystemError(missed)), failed=True)
        else:
            channel.reply(call.call_id, b"")
