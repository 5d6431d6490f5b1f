"""A node's dealings with runtime environments: has their packages at hand before a worker starts."""

import asyncio
import os
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ...actors.contract import (
    HEAD,
    NODE,
    DescribeEnvironment,
    EnvironmentDefinition,
    ReadPackage,
    StorePackage,
    decoder_of,
)
from ...actors.runtime_env import RuntimeEnv
from ...actors.serialization import serialize_error
from ...exceptions import RuntimeEnvSetupError
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call
from ..package_store import PackageStore
from ..system_process import SystemProcess

_ASK_S = 30.0
_CHUNK = 4 << 20
_SETUP_S = 600
"""Seconds that setting up may take, unless the environment says otherwise: Ray's default."""


class Prepared(NamedTuple):
    """An environment that is ready for a worker.

    Attributes:
        definition: the encoded `EnvironmentDefinition`.
        packages: where each of its packages is unpacked, by URI; kept until `release`.
    """

    definition: bytes = b""
    packages: dict[str, str] = {}  # noqa: RUF012 - never changed


class EnvironmentDesk:
    """Part of the node manager; on its loop.

    Args:
        process: the node process.
        head: knows what keys stand for.
        folder: for the packages; made when the first one comes.
    """

    def __init__(self, process: SystemProcess, head: ProcessAddress, folder: Path) -> None:
        self._process = process
        self._head = head
        self._folder = folder
        self._opened: PackageStore | None = None
        self._definitions: dict[str, bytes] = {}
        self._fetching: dict[str, asyncio.Lock] = {}
        self.methods = {
            "StorePackage": lambda channel, call: self._answer(channel, call, self._store_package(call)),
            "ReadPackage": lambda channel, call: self._answer(channel, call, self._read_package(call)),
        }

    @property
    def _store(self) -> PackageStore:
        if self._opened is None:
            self._opened = PackageStore(self._folder)
        return self._opened

    def close(self) -> None:
        """Let go of all packages."""
        if self._opened is not None:
            self._opened.close()

    async def prepare(self, key: str) -> Prepared:
        """Have an environment's packages unpacked here.

        Raises:
            RuntimeEnvSetupError: it cannot be set up; says why.
        """
        if not key:
            return Prepared()
        definition = await self._definition(key)
        described: EnvironmentDefinition = decoder_of(EnvironmentDefinition).decode(definition)
        env = RuntimeEnv.deserialize(described.env)
        limit = env.get("config", {}).get("setup_timeout_seconds", _SETUP_S)
        packages: dict[str, str] = {}
        try:
            async with asyncio.timeout(None if limit < 0 else limit):
                for uri in env.uris():
                    packages[uri] = str(await self._acquire(uri, described.packages.get(uri)))
        except BaseException as error:
            self.release(packages)
            if isinstance(error, TimeoutError):
                raise RuntimeEnvSetupError(
                    f"Setting up the runtime environment took longer than {limit} s; see setup_timeout_seconds."
                ) from None
            raise
        return Prepared(definition, packages)

    def release(self, packages: Iterable[str]) -> None:
        """A worker that used these packages has ended."""
        for uri in packages:
            self._store.release(uri)

    async def _definition(self, key: str) -> bytes:
        found = self._definitions.get(key)
        if not found:
            try:
                found = await self._process.request(self._head, HEAD, DescribeEnvironment(key), _ASK_S)
            except TransportError as error:
                raise RuntimeEnvSetupError(f"The head did not say what the runtime environment is: {error}") from error
            if not found:
                raise RuntimeEnvSetupError(f"The head does not know the runtime environment {key}: it was restarted.")
            self._definitions[key] = found
        return found

    # --- packages ---

    async def _acquire(self, uri: str, home: ProcessAddress | None) -> Path:
        async with self._fetching.setdefault(uri, asyncio.Lock()):
            store = self._store
            if not await asyncio.to_thread(store.has, uri):
                await self._fetch(uri, home)
            return await asyncio.to_thread(store.acquire, uri)

    async def _fetch(self, uri: str, home: ProcessAddress | None) -> None:
        """Copy a package from the node that has it."""
        if home is None or home.process_id == self._process.address.process_id:
            raise RuntimeEnvSetupError(f"The package {uri} is not in the cluster (any more); submit again to store it.")
        self._folder.mkdir(parents=True, exist_ok=True)
        arriving = self._folder / f"arriving-{os.urandom(8).hex()}"
        try:
            offset = 0
            with arriving.open("wb") as file:
                # The head is asked by way of this node, which knows which process it is by then.
                source, actor = (home, NODE) if home.process_id else (self._head, HEAD)
                while part := await self._process.request(source, actor, ReadPackage(uri, offset, _CHUNK), _ASK_S):
                    offset += len(part)
                    await asyncio.to_thread(file.write, part)
            await asyncio.to_thread(self._store.put, uri, arriving)
        except (TransportError, ValueError, OSError) as error:
            raise RuntimeEnvSetupError(f"The package {uri} could not be copied from its node: {error}") from error
        finally:
            arriving.unlink(missing_ok=True)

    async def _store_package(self, call: Call) -> bytes:
        given: StorePackage = decoder_of(StorePackage).decode(call.body)
        await asyncio.to_thread(self._store.put, given.uri, Path(given.path))
        return b""

    async def _read_package(self, call: Call) -> bytes:
        wanted: ReadPackage = decoder_of(ReadPackage).decode(call.body)

        def read() -> bytes:
            with self._store.archive(wanted.uri).open("rb") as file:
                file.seek(wanted.offset)
                return file.read(min(wanted.size, _CHUNK))

        return await asyncio.to_thread(read)

    def _answer(self, channel: Channel, call: Call, work: Coroutine[Any, Any, bytes]) -> None:
        async def answer() -> None:
            try:
                channel.reply(call.call_id, await work)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
                told = RuntimeEnvSetupError(f"{call.method} failed: {type(error).__name__}: {error}")
                channel.reply(call.call_id, serialize_error(told), failed=True)

        self._process.spawn(answer())
