"""Brings copies of other nodes' objects to this one."""

import asyncio
import logging
from collections.abc import Callable

from ...actors.contract import CORE, NODE, LocateObject, Location, ObjectCopied, decoder_of
from ...transport.address import ProcessAddress
from ...transport.bulk_client import BulkClient
from ...transport.error import BulkNotFoundError
from ...transport.shm.nursery import Grant
from ..store.error import ObjectNotHereError
from ..store.store import ObjectStore
from ..system_process import SystemProcess

NodeAt = Callable[[str], ProcessAddress | None]
"""The node process of a node by its id in hexadecimal; None where there is no such node (any more)."""

LOCATE_S = 120.0
"""How long the other node may take to bring an object back from its disk."""

logger = logging.getLogger(__name__)


class Puller:
    """Copies objects from other nodes' stores into this one's. On the node process's loop.

    A copy is secondary: it is dropped first when memory runs short, and the object's owner is told of it, so as to
    free it with the object and to fall back on it when the first copy is lost.

    Args:
        process: asks other nodes.
        store: where copies go.
        node_id: this node.
        node_at: finds other nodes.
    """

    def __init__(
        self,
        process: SystemProcess,
        store: ObjectStore,
        node_id: bytes,
        node_at: NodeAt,
    ) -> None:
        self._process = process
        self._store = store
        self._node_id = node_id
        self._node_at = node_at
        self._bulk = BulkClient(process.endpoint)
        self._pulling: dict[tuple[bytes, bytes], asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = list(self._pulling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._bulk.close()

    async def pull(self, request: LocateObject) -> None:
        """Copy an object from the node that the request names; whoever wants the same meanwhile shares the transfer.

        Raises:
            ObjectNotHereError: that node does not have it, or is gone.
            ObjectStoreFullError: there is no room for it here. RemoteCallError: nor there, to bring it back from disk.
        """
        key = (request.object_id, request.hint.node_id)
        task = self._pulling.get(key)
        if task is None:
            task = self._pulling[key] = asyncio.get_running_loop().create_task(self._pull(request))
            task.add_done_callback(lambda done: self._pulled(key, done))
        await asyncio.shield(task)

    def _pulled(self, key: tuple[bytes, bytes], task: "asyncio.Task[None]") -> None:
        del self._pulling[key]
        if not task.cancelled():
            task.exception()  # seen, also where whoever asked has stopped waiting

    async def _pull(self, request: LocateObject) -> None:
        node = self._node_at(request.hint.node_id.hex())
        if node is None:
            raise ObjectNotHereError(f"Node {request.hint.node_id.hex()} is not in the cluster (any more).")
        try:
            answer = await self._process.request(node, NODE, request, LOCATE_S)
            if not answer:
                raise ObjectNotHereError(f"Node {request.hint.node_id.hex()} does not have the object (any more).")
            size = decoder_of(Location).decode(answer).size
            await self._copy(request, node, size)
        except BulkNotFoundError as error:
            raise ObjectNotHereError(str(error)) from None

    async def _copy(self, request: LocateObject, node: ProcessAddress, size: int) -> None:
        object_id, me = request.object_id, self._process.address.process_id
        grant = await self._store.grant(me, size)
        arena = self._store.arena
        try:
            await self._bulk.fetch(node, object_id.hex(), arena.receive(grant.offset, size))
        except BaseException:
            self._store.returned(me, grant.grant, grant.offset, grant.size, touched=True)
            raise
        arena.settle(grant.offset, grant.grant)
        self._store.sealed(me, grant.grant, object_id, request.owner.process_id, grant.offset, size, primary=False)
        self._return_rest(grant, size)
        copy = ObjectCopied(object_id, Location(self._node_id, grant.offset, size))
        self._process.notify(request.owner, CORE, copy)

    def _return_rest(self, grant: Grant, size: int) -> None:
        if grant.size > size:
            me = self._process.address.process_id
            self._store.returned(me, grant.grant, grant.offset + size, grant.size - size, touched=False)
