"""A node's packages: taken in from its drivers, copied from other nodes, fetched from the network, given to others."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from ...actors.contract import HEAD, NODE, ReadPackage, StorePackage, decoder_of
from ...actors.package import SCHEME
from ...actors.serialization import serialize_error
from ...exceptions import RuntimeEnvSetupError
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import RemoteCallError, TransportError
from ...transport.protocol import Call
from ..environment.download import fetch_package
from ..package_copy import CHUNK, copy_package
from ..package_store import PackageStore
from ..system_process import SystemProcess

logger = logging.getLogger(__name__)


class PackageDesk:
    """Part of the node manager; on its loop.

    Args:
        process: the node process.
        folder: for the packages; made when the first one comes.
        quota: bytes of packages above which unused ones are removed.
        peers: the other nodes' managers.
    """

    def __init__(
        self, process: SystemProcess, folder: Path, quota: int, peers: Callable[[], Iterable[ProcessAddress]]
    ) -> None:
        self._process = process
        self._folder = folder
        self._quota = quota
        self._peers = peers
        self._kept: dict[str, set[str]] = {}
        self._opened: PackageStore | None = None
        self._fetching: dict[str, asyncio.Lock] = {}
        self._fetched: dict[str, str] = {}
        self.methods = {
            "StorePackage": lambda channel, call: self._answer(
                channel, call, self._store_package(channel.peer.process_id, call)
            ),
            "ReadPackage": lambda channel, call: self._answer(channel, call, self._read_package(call)),
        }

    @property
    def _store(self) -> PackageStore:
        if self._opened is None:
            self._opened = PackageStore(self._folder, self._quota)
        return self._opened

    def close(self) -> None:
        """Let go of all packages."""
        if self._opened is not None:
            self._opened.close()

    async def acquire(self, uri: str, home: ProcessAddress | None) -> Path:
        """The folder a package is unpacked in, kept until `release`.

        Args:
            uri: names its content ("pkg://"), or where it is fetched from: once a session.
            home: a node that has it.

        Raises:
            RuntimeEnvSetupError: it cannot be had.
        """
        async with self._fetching.setdefault(uri, asyncio.Lock()):
            store = self._store
            if not uri.startswith(SCHEME):
                if not (known := self._fetched.get(uri)) or not await asyncio.to_thread(store.has, known):
                    self._fetched[uri] = await fetch_package(uri, store)
                return await self._hold(self._fetched[uri])
            if not await asyncio.to_thread(store.has, uri):
                await self._copy(uri, home)
            return await self._hold(uri)

    async def _hold(self, uri: str) -> Path:
        """Unpack a package, and keep it. Who has stopped waiting keeps nothing, although the thread goes on."""
        held = asyncio.ensure_future(asyncio.to_thread(self._store.acquire, uri))
        try:
            return await asyncio.shield(held)
        except asyncio.CancelledError:
            held.add_done_callback(
                lambda done: None if done.cancelled() or done.exception() else self._store.release(uri)
            )
            raise

    def release(self, uri: str) -> None:
        """A worker that used this package has ended."""
        self._store.release(self._fetched.get(uri, uri))

    def process_lost(self, process_id: str) -> None:
        """A process is gone: what it had stored is kept no longer for its sake."""
        for uri in self._kept.pop(process_id, ()):
            self._store.release(uri)

    async def _copy(self, uri: str, home: ProcessAddress | None) -> None:
        """Copy a package from the node where it was stored; from any other that has it when that is gone."""
        here = self._process.address
        nodes = {node.process_id: node for node in (home, *self._peers()) if node is not None}
        sources = [(node, NODE) for name, node in nodes.items() if name not in {"", here.process_id}]
        if home is not None and not home.process_id:
            sources.insert(0, (here, HEAD))  # the head has it, which this process's own actor of that name reaches
        lacking, unheard = 0, list[str]()
        for source, actor in sources:
            try:
                await copy_package(self._process, uri, source, actor, self._store)
            except RemoteCallError as error:  # what it says is pickled, and of no interest: it does not have it
                logger.info("%s is not to be had from %s: %s", uri, source, error)
                lacking += 1
            except (TransportError, ValueError, OSError) as error:
                unheard.append(str(error))
            else:
                return
        raise RuntimeEnvSetupError(_nowhere(uri, lacking, unheard))

    async def _store_package(self, process_id: str, call: Call) -> bytes:
        """Take a package in, for the other nodes, too; it stays as long as the process that made it."""
        given: StorePackage = decoder_of(StorePackage).decode(call.body)
        kept = self._kept.setdefault(process_id, set())
        if given.uri not in kept:
            self._store.keep(given.uri)
            kept.add(given.uri)
        await asyncio.to_thread(self._store.put, given.uri, Path(given.path))
        return b""

    async def _read_package(self, call: Call) -> bytes:
        wanted: ReadPackage = decoder_of(ReadPackage).decode(call.body)

        def read() -> bytes:
            with self._store.archive(wanted.uri).open("rb") as file:
                file.seek(wanted.offset)
                return file.read(min(wanted.size, CHUNK))

        return await asyncio.to_thread(read)

    def _answer(self, channel: Channel, call: Call, work: Coroutine[Any, Any, bytes]) -> None:
        async def answer() -> None:
            try:
                channel.reply(call.call_id, await work)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
                told = RuntimeEnvSetupError(f"{call.method} failed: {type(error).__name__}: {error}")
                channel.reply(call.call_id, serialize_error(told), failed=True)

        self._process.spawn(answer())


def _nowhere(uri: str, lacking: int, unheard: list[str]) -> str:
    """Why a package cannot be had, and what to do."""
    asked = f"{lacking} of those that may have it were asked, and do not" if lacking else "there is nobody else to ask"
    if unheard:
        asked += f"; from {len(unheard)} it could not be copied ({unheard[-1]})"
    return (
        f"The package {uri} of the runtime environment is not in the cluster any more: {asked}. Submit the job, or "
        "start the program, again: that stores it anew."
    )
