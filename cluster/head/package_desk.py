"""The packages that were given to the head, with jobs: kept for the nodes, which copy them from here."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from ...actors.contract import ReadPackage, decoder_of
from ...actors.serialization import serialize_error
from ...exceptions import RuntimeEnvSetupError
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..package_store import PackageStore

if TYPE_CHECKING:
    from .head import Head

HOME = ProcessAddress("", "")
"""Stands for the head, whichever process it is by then, among the processes that have packages."""

_CHUNK = 4 << 20


class PackageDesk:
    """Part of the head actor; on its loop.

    Args:
        head: that.
        folder: where packages are kept; they outlive the head there. Made when the first one comes. None: nowhere.
    """

    def __init__(self, head: "Head", folder: Path | None) -> None:
        self._head = head
        self._folder = folder
        self._opened: PackageStore | None = None
        head.methods |= {"ReadPackage": self._on_read}

    def close(self) -> None:
        """Let go of all packages."""
        if self._opened is not None:
            self._opened.close()

    @property
    def store(self) -> PackageStore:
        """The packages; its methods block on the disk.

        Raises:
            OSError: this head keeps none.
        """
        if self._folder is None:
            raise FileNotFoundError("a head that takes no jobs has no packages")
        if self._opened is None:
            self._opened = PackageStore(self._folder)
        return self._opened

    def _on_read(self, channel: Channel, call: Call) -> None:
        wanted: ReadPackage = decoder_of(ReadPackage).decode(call.body)

        def read() -> bytes:
            with self.store.archive(wanted.uri).open("rb") as file:
                file.seek(wanted.offset)
                return file.read(min(wanted.size, _CHUNK))

        async def answer() -> None:
            try:
                channel.reply(call.call_id, await asyncio.to_thread(read))
            except (KeyError, OSError, ValueError) as error:
                told = RuntimeEnvSetupError(f"The head does not have the package {wanted.uri} (any more): {error}")
                channel.reply(call.call_id, serialize_error(told), failed=True)

        self._head.spawn(answer())
