"""A node that ends in good order: it waits for what runs, and has other nodes copy what only it has."""

import asyncio
import logging
from itertools import count
from typing import TYPE_CHECKING

from ...actors.contract import NODE, LocateObject, decoder_of
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call
from ..cluster_message import DrainOrder
from ..scheduling import lease_message as m
from ..system_process import SystemProcess
from .store_desk import OwnedObject, StoreDesk
from .worker_table import WorkerTable

if TYPE_CHECKING:
    from ..scheduling.lease import LeaseMachine
    from .head_link import HeadLink
    from .manager import NodeManager

_AT_ONCE = 4
"""Objects that are copied at a time."""

_COPY_S = 60.0
"""How long another node may take to copy one object."""

logger = logging.getLogger(__name__)


class DrainDesk:
    """Part of the node manager; on its loop."""

    def __init__(
        self,
        process: SystemProcess,
        manager: "NodeManager",
        machine: "LeaseMachine",
        workers: WorkerTable,
        store: StoreDesk,
        head: "HeadLink",
    ) -> None:
        self._process = process
        self._manager = manager
        self._machine = machine
        self._workers = workers
        self._store = store
        self._head = head
        self._over = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._copied: set[bytes] = set()
        self._turn = count()
        manager.methods |= {"DrainOrder": self._on_order}

    def look(self) -> None:
        """Something has changed on a node that is drained: maybe nothing runs there any more."""
        if self._timer is not None and not self._machine.busy:
            self._over.set()

    def _on_order(self, _: Channel, call: Call) -> None:
        order: DrainOrder = decoder_of(DrainOrder).decode(call.body)
        again = self._timer is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(order.deadline_s, self._over.set)
        if not again:
            logger.warning("this node is drained within %g s", order.deadline_s)
            self._manager.feed(m.Drain())
            self._store.leaving = True
            self._process.spawn(self._drain())

    async def _drain(self) -> None:
        """What there is is copied while tasks end, so that little is left to copy when the time is up."""
        await self._copy_away()
        await self._over.wait()
        await self._store.kept()  # others may have begun to leave before this node did, and have left theirs here
        await self._copy_away()
        self._head.drained()

    async def _copy_away(self) -> None:
        waiting = [one for one in self._store.owned_elsewhere() if one.object_id not in self._copied]
        workers = [self._copy_all(waiting) for _ in range(min(_AT_ONCE, len(waiting)))]
        await asyncio.gather(*workers)

    async def _copy_all(self, waiting: list[OwnedObject]) -> None:
        while waiting:
            one = waiting.pop()
            if self._workers.find(one.owner.process_id) is None:  # what this node's workers own ends with them
                await self._copy(one)

    async def _copy(self, one: OwnedObject) -> None:
        """Have another node copy an object, and keep it as its owner's first copy; the next one where that fails.

        Other nodes may leave at the same time, and say no.
        """
        peers = self._head.peers.all()
        first = next(self._turn)
        request = LocateObject(one.object_id, one.owner, one.location, keep=True)
        for index in range(len(peers)):
            peer = peers[(first + index) % len(peers)]
            try:
                answer = await self._process.request(peer, NODE, request, _COPY_S)
            except TransportError as error:
                logger.info("node process %s cannot copy %s: %s", peer.process_id, one.object_id.hex(), error)
                continue
            if answer:
                self._copied.add(one.object_id)
                return
        logger.warning("no node can copy object %s: it is lost with this one", one.object_id.hex())
