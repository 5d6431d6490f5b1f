"""A node's packages: taken in from its drivers, copied from other nodes, fetched from the network, given to others."""

import asyncio
import contextlib
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
from ...transport.error import DeadlineExceededError, RemoteCallError, TransportError
from ...transport.protocol import Call
from ..environment.download import fetch_package
from ..package_copy import CHUNK, copy_package
from ..package_store import PackageStore
from ..system_process import SystemProcess

_ATTEMPTS = 3
_AWAY_S = 3600.0
"""How long a head may be away that is the only one left to ask; set-up's own limit comes before."""

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
            for _ in range(_ATTEMPTS):
                stored = await self._stored(uri, home)
                with contextlib.suppress(KeyError):  # it was damaged on the disk, or made room for another one
                    return await self._unpacked(stored)
        raise RuntimeEnvSetupError(
            f"The package {uri.partition('?')[0]} of the runtime environment does not stay in {self._folder} until it "
            f"is unpacked: is the quota of {self._quota} bytes (runtime_env_packages_bytes) too small for what is used?"
        )

    async def _stored(self, uri: str, home: ProcessAddress | None) -> str:
        """Have a package in the store; returns its name there."""
        store = self._store
        if uri.startswith(SCHEME):
            if not await asyncio.to_thread(store.has, uri):
                await self._copy(uri, home)
            return uri
        if not (known := self._fetched.get(uri)) or not await asyncio.to_thread(store.has, known):
            known = self._fetched[uri] = await fetch_package(uri, store)
        return known

    async def _unpacked(self, uri: str) -> Path:
        """Acquire a package, and let go of it if nobody waits for it any more."""
        store = self._store
        acquiring = asyncio.ensure_future(asyncio.to_thread(store.acquire, uri))

        def let_go(done: "asyncio.Future[Path]") -> None:
            if not done.cancelled() and done.exception() is None:
                store.release(uri)

        try:
            return await asyncio.shield(acquiring)
        except asyncio.CancelledError:
            acquiring.add_done_callback(let_go)
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
        # The head, which this process's own actor of that name reaches, has what jobs and detached actors need.
        sources.insert(0 if home is not None and not home.process_id else len(sources), (here, HEAD))
        lacking, unheard, away = 0, list[str](), list[str]()
        for source, actor in sources:
            try:
                await copy_package(self._process, uri, source, actor, self._store)
            except DeadlineExceededError as error:
                (away if actor == HEAD else unheard).append(str(error))
            except RemoteCallError as error:  # what it says is pickled, and of no interest: it does not have it
                logger.info("%s is not to be had from %s: %s", uri, source, error)
                lacking += 1
            except (TransportError, ValueError, OSError) as error:
                unheard.append(str(error))
            else:
                return
        if away:  # nobody else has it, and the head comes back
            try:
                await copy_package(self._process, uri, here, HEAD, self._store, _AWAY_S)
            except (TransportError, ValueError, OSError) as error:
                away.append(str(error))
            else:
                return
        raise RuntimeEnvSetupError(_nowhere(uri, lacking, unheard + away))

    def _store_package(self, process_id: str, call: Call) -> Coroutine[Any, Any, bytes]:
        """Take a package in, for the other nodes, too; it stays as long as the process that made it.

        It is kept before anything else is heard, for that may be the end of the process.
        """
        given: StorePackage = decoder_of(StorePackage).decode(call.body)
        kept = self._kept.setdefault(process_id, set())
        if given.uri not in kept:
            self._store.keep(given.uri)
            kept.add(given.uri)
        return self._put(given)

    async def _put(self, given: StorePackage) -> bytes:
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
