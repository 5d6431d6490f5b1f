"""The packages that were given to the head, with jobs: kept for the nodes, which copy them from here.

The heads that stand by have copies, for they are who nodes will ask next. A job is accepted when they have what it
needs, so it does not depend on the first head's machine. Considered instead: keeping packages in the state store, which
is made for small rows, and would have to hold 500 MiB each in memory (Redis) and write them between the rows that all
that the head says waits for; having nodes keep copies, which come and go with the autoscaler. Nodes that happen to have
a package are asked, too, when the head does not have it.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...actors.contract import HEAD, NODE, ReadPackage, decoder_of
from ...actors.package import SCHEME
from ...actors.serialization import serialize_error
from ...exceptions import RuntimeEnvSetupError
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call, Reply
from ..cluster_message import KeepPackages
from ..package_copy import CHUNK, copy_package
from ..package_store import PackageStore

if TYPE_CHECKING:
    from .head import Head

HOME = ProcessAddress("", "")
"""Stands for the head, whichever process it is by then, among the processes that have packages."""

_PATIENCE_S = 30.0
"""How long a job waits for copies of its packages; where they take longer, they are made while it runs."""

logger = logging.getLogger(__name__)


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
        self._needed: dict[str, set[str]] = {}
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

    def need(self, job: str, uris: Iterable[str]) -> None:
        """Keep a job's packages, however full the store is; `uris` is all that it needs from now on."""
        needed, kept = {uri for uri in uris if uri.startswith(SCHEME)}, self._needed.pop(job, set())
        for uri in kept - needed:
            self.store.release(uri)
        for uri in needed - kept:
            try:
                self.store.keep(uri)
            except (ValueError, OSError) as error:  # no package's name, or no place for packages: nodes will say so
                logger.warning("the package %s of job %s is not kept: %s", uri, job, error)
                needed.discard(uri)
        if needed:
            self._needed[job] = needed

    def adopt(self, packages: Mapping[str, ProcessAddress]) -> None:
        """Have copies of packages that nodes have, for what outlives the program, and maybe the node, of their user."""
        for uri, home in packages.items():
            if self._folder is not None and uri.startswith(SCHEME):
                self._head.spawn(self._copy(uri, home))

    async def _copy(self, uri: str, home: ProcessAddress) -> None:
        try:
            if not await asyncio.to_thread(lambda: self.store.has(uri)):
                await copy_package(self._head.process, uri, home, NODE, self.store)
        except (TransportError, ValueError, OSError) as error:
            logger.warning("the head has no copy of the package %s, which a detached actor needs: %s", uri, error)

    async def share(self, uris: Iterable[str], standbys: Iterable[ProcessAddress]) -> None:
        """Have the heads that stand by copy packages, as far as they are here; returns when they have.

        One that is out of reach is not waited for: it gets them when it is back.
        """
        here = await asyncio.to_thread(self._present, [uri for uri in uris if uri.startswith(SCHEME)])
        asked = [self._keep_at(standby, here) for standby in standbys] if here else []
        if asked:
            _, late = await asyncio.wait(asked, timeout=_PATIENCE_S)
            if late:
                logger.warning("%d heads that stand by have not copied %s yet", len(late), ", ".join(here))

    def _present(self, uris: list[str]) -> list[str]:
        if not uris or self._folder is None:
            return []
        store = self.store
        return [uri for uri in uris if store.has(uri)]

    def _keep_at(self, standby: ProcessAddress, uris: list[str]) -> "asyncio.Future[None]":
        kept: asyncio.Future[None] = self._head.loop.create_future()

        def answered(reply: Reply | TransportError) -> None:
            if isinstance(reply, TransportError) or reply.failed:
                why = reply if isinstance(reply, TransportError) else "it failed there"
                logger.warning("the head that stands by at %s has no copy of a job's packages: %s", standby.tcp, why)
            if not kept.done():
                kept.set_result(None)

        self._head.process.ask(standby, HEAD, KeepPackages(uris), answered)
        return kept

    def _on_read(self, channel: Channel, call: Call) -> None:
        wanted: ReadPackage = decoder_of(ReadPackage).decode(call.body)

        def read() -> bytes:
            with self.store.archive(wanted.uri).open("rb") as file:
                file.seek(wanted.offset)
                return file.read(min(wanted.size, CHUNK))

        async def answer() -> None:
            try:
                channel.reply(call.call_id, await asyncio.to_thread(read))
            except (KeyError, OSError, ValueError) as error:
                told = RuntimeEnvSetupError(f"The head does not have the package {wanted.uri} (any more): {error}")
                channel.reply(call.call_id, serialize_error(told), failed=True)

        self._head.spawn(answer())
