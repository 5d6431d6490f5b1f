"""The node's object store, as processes ask for it."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ...actors.contract import (
    CORE,
    NODE,
    CopyDropped,
    Granted,
    GrantMemory,
    KeepObject,
    LocateObject,
    Location,
    ObjectFreed,
    ObjectsSealed,
    ReturnMemory,
    WantObjects,
    WriterLost,
    WrittenCopy,
    decoder_of,
    encode,
)
from ...actors.serialization import serialize_error
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import BackpressureError, RemoteCallError, TransportError
from ...transport.protocol import Call, Reply
from ..store.command import AskOwner, TellDropped
from ..store.error import ObjectNotHereError, ObjectStoreFullError
from ..store.store import MOVES
from ..system_process import SystemProcess
from .puller import NodeAt, Puller

if TYPE_CHECKING:
    from ..store.store import ObjectStore
    from .object_source import ObjectSource

_NURSERY = 4 << 20
_OBJECTS = 8
_LARGE = 4 << 20
_ASKED = 1000
"""How many copies one question to an owner is about."""
_TELL_S = 10.0
"""How long an owner may take to say what it has written; its wire thread answers, whatever its program does."""

logger = logging.getLogger(__name__)


class OwnedObject(NamedTuple):
    """An object whose first copy is here, and its owner."""

    object_id: bytes
    owner: ProcessAddress
    location: Location


class StoreDesk:
    """Answers requests of local processes about memory and objects, and of other nodes for copies.

    Attributes:
        leaving: this node ends soon, and keeps nothing more for others.
    """

    def __init__(
        self, process: SystemProcess, store: "ObjectStore", source: "ObjectSource", node_id: bytes, node_at: NodeAt
    ) -> None:
        self._process = process
        self._store = store
        self._node_id = node_id
        self._node_at = node_at
        self._puller = Puller(process, store, source, node_id, node_at)
        self._owners: dict[str, ProcessAddress] = {}
        self._locating: dict[str, dict[int, asyncio.Task[None]]] = {}
        self.leaving = False
        self._hearing = asyncio.Lock()
        self._hearings = 0
        self._keeping: set[asyncio.Task[None]] = set()
        store.ask_owner = self._ask_owner
        store.tell_dropped = self._tell_dropped
        self.methods: dict[str, Callable[[Channel, Call], None]] = {
            "GrantMemory": self._on_grant,
            "ReturnMemory": self._on_return,
            "ObjectsSealed": self._on_sealed,
            "ObjectFreed": self._on_freed,
            "KeepObject": self._on_keep,
            "LocateObject": self._on_locate,
            "WantObjects": self._on_want,
        }

    async def close(self) -> None:
        """Fetch nothing more from other nodes."""
        await self._puller.close()

    def owned_elsewhere(self) -> list[OwnedObject]:
        """The objects that others rely on this node for, as far as their owners' addresses were told."""
        return [
            OwnedObject(copy.object_id, owner, Location(self._node_id, copy.home, copy.size))
            for copy in self._store.primaries()
            if (owner := self._owners.get(copy.owner)) is not None
        ]

    async def kept(self) -> None:
        """Wait until what this node took over from others that leave is here, or is not to be had."""
        await asyncio.gather(*self._keeping, return_exceptions=True)

    def _on_grant(self, channel: Channel, call: Call) -> None:
        request: GrantMemory = decoder_of(GrantMemory).decode(call.body)
        self._process.spawn(self._grant(channel, call.call_id, request.size))

    async def _grant(self, channel: Channel, call_id: int, size: int) -> None:
        try:
            grant = await self._store.grant(channel.peer.process_id, size, _wish(size))
        except ObjectStoreFullError as error:
            channel.reply(call_id, serialize_error(error), failed=True)
        else:
            channel.reply(call_id, encode(Granted(grant.grant, grant.offset, grant.size)))

    def _on_return(self, channel: Channel, call: Call) -> None:
        back: ReturnMemory = decoder_of(ReturnMemory).decode(call.body)
        self._store.returned(channel.peer.process_id, back.grant, back.offset, back.size, back.touched)

    def _on_sealed(self, channel: Channel, call: Call) -> None:
        sealed: ObjectsSealed = decoder_of(ObjectsSealed).decode(call.body)
        for item in sealed.objects:
            if item.owner_address is not None:
                self._watch_owner(item.owner_address)
            self._store.sealed(channel.peer.process_id, item.grant, item.object_id, item.owner, item.offset, item.size)

    def _on_freed(self, _: Channel, call: Call) -> None:
        freed: ObjectFreed = decoder_of(ObjectFreed).decode(call.body)
        if freed.location.node_id == self._node_id:
            self._store.freed(freed.object_id, freed.location.offset)
        else:
            self._pass_on(freed)

    def _on_keep(self, _: Channel, call: Call) -> None:
        kept: KeepObject = decoder_of(KeepObject).decode(call.body)
        if kept.location.node_id == self._node_id:
            self._store.keep(kept.object_id, kept.location.offset)
        else:
            self._pass_on(kept)

    def _pass_on(self, body: ObjectFreed | KeepObject) -> None:
        """Tell the node that it is about; one that is gone needs to know no more."""
        node = self._node_at(body.location.node_id.hex())
        if node is not None:
            self._process.notify(node, NODE, body)

    def _on_locate(self, channel: Channel, call: Call) -> None:
        request: LocateObject = decoder_of(LocateObject).decode(call.body)
        process_id = channel.peer.process_id
        if request.keep and self.leaving:
            channel.reply(call.call_id, b"")
            return
        task = self._process.spawn(self._locate(channel, call.call_id, request))
        if request.keep:
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)
        self._locating.setdefault(process_id, {})[call.call_id] = task
        task.add_done_callback(lambda _: self._located(process_id, call.call_id))

    def _located(self, process_id: str, call_id: int) -> None:
        tasks = self._locating.get(process_id, {})
        tasks.pop(call_id, None)
        if not tasks:
            self._locating.pop(process_id, None)

    def cancelled(self, process_id: str, call_id: int) -> None:
        """A process does not wait for the answer to its call any more."""
        task = self._locating.get(process_id, {}).get(call_id)
        if task is not None:
            task.cancel()

    def _on_want(self, channel: Channel, call: Call) -> None:
        want: WantObjects = decoder_of(WantObjects).decode(call.body)
        for item in want.objects:
            if not self._store.has(item.object_id) and item.location.node_id != self._node_id:
                self._watch_owner(item.owner)
                self._puller.want(item.object_id, item.owner, item.location, channel.peer.process_id, want.soon)

    async def _locate(self, channel: Channel, call_id: int, request: LocateObject) -> None:
        try:
            offset, size = await self._bring(request, channel.peer.process_id)
        except (ObjectNotHereError, TransportError) as error:
            if isinstance(error, RemoteCallError):  # the other node says why it cannot bring it into its memory
                channel.reply(call_id, error.body, failed=True)
                return
            logger.info("object %s is not to be had: %s", request.object_id.hex(), error)
            channel.reply(call_id, b"")
        except ObjectStoreFullError as error:
            channel.reply(call_id, serialize_error(error), failed=True)
        else:
            if request.keep:
                self._store.keep(request.object_id, offset)
            channel.reply(call_id, encode(Location(self._node_id, offset, size)))

    async def _bring(self, request: LocateObject, process_id: str) -> tuple[int, int]:
        for attempt in range(MOVES):
            try:
                return await self._store.locate(request.object_id)
            except ObjectNotHereError:
                if request.hint.node_id == self._node_id:
                    if attempt or not await self._hear_from_all(request.owner.process_id):
                        raise
                    continue
            self._watch_owner(request.owner)
            await self._puller.pull(request, process_id)
        raise ObjectStoreFullError(
            f"Object {request.object_id.hex()} was fetched from another node {MOVES} times, and had to make room for "
            "others each time before it was read. Work on fewer or smaller objects at a time, or start the node with a "
            "larger object_store_memory."
        )

    async def _hear_from_all(self, owner: str) -> bool:
        """Have the processes here tell of what they have written; False where there is none.

        An owner tells of its newest objects a moment later. And what a task has made for an owner may still be on its
        way to this node when the owner knows of it already, and whoever that has told: other connections carry that.
        An answer comes after all that its process said before. Many who miss something at once share one round, of
        those that begin after they came.
        """
        begun = self._hearings
        async with self._hearing:
            channels = [
                channel
                for process_id, channel in self._process.endpoint.channels.items()
                if process_id == owner or channel.peer_info.get("kind") in {"driver", "worker"}
            ]
            if self._hearings <= begun:
                self._hearings += 1
                asked = [channel.request(CORE, "TellSealed", b"", _TELL_S) for channel in channels]
                await asyncio.gather(*asked, return_exceptions=True)  # who is gone has nothing to tell
            return bool(channels)

    def _watch_owner(self, owner: ProcessAddress) -> None:
        """Hold a channel to a process that owns objects here, so as to free them if it dies."""
        if owner.process_id in self._owners:
            return
        self._owners[owner.process_id] = owner

        def connected(result: Channel | TransportError) -> None:
            if isinstance(result, TransportError):
                self.process_lost(owner.process_id)

        self._process.connected(owner, connected)

    def _ask_owner(self, order: AskOwner) -> None:
        """A process is lost that made objects for another one: which of them does that know?

        There is no answer where the owner is lost, too; then its objects go anyway.
        """
        channel = self._process.endpoint.channel(order.owner)
        owner = channel.peer if channel is not None else self._owners.get(order.owner)
        if owner is None:  # not even the first of its objects was told of; it is met when it asks for one
            logger.info("the owner %s of %d objects is not known here", order.owner, len(order.copies))
            return

        def answered(reply: Reply | TransportError) -> None:
            if not isinstance(reply, TransportError) and not reply.failed:
                self._store.disowned(msgspec.msgpack.decode(reply.body, type=list[int]))

        for start in range(0, len(order.copies), _ASKED):
            some = order.copies[start : start + _ASKED]
            copies = [WrittenCopy(copy.key, copy.object_id, copy.home) for copy in some]
            self._process.ask(owner, CORE, WriterLost(order.process, self._node_id, copies), answered)

    def _tell_dropped(self, order: TellDropped) -> None:
        owner = self._owners.get(order.owner)
        if owner is not None:
            copy = CopyDropped(order.object_id, Location(self._node_id, order.home, order.size))
            self._process.notify(owner, CORE, copy)

    def ask_return(self, process_id: str, grant: int) -> None:
        """Ask a process to give back what it does not use of its memory."""
        del grant  # a process has one nursery at a time
        channel = self._process.endpoint.channel(process_id)
        if channel is not None:
            with contextlib.suppress(BackpressureError):  # it takes nothing now, and is asked again
                channel.notify(CORE, "ReclaimMemory", b"")

    def node_gone(self, process_id: str) -> None:
        """Another node is no part of the cluster any more: nothing comes from there."""
        self._puller.source_lost(process_id)

    def process_lost(self, process_id: str) -> None:
        """A process is gone: its memory and the objects it owned with it."""
        self._owners.pop(process_id, None)
        for task in list(self._locating.get(process_id, {}).values()):
            task.cancel()
        self._puller.process_lost(process_id)
        self._store.process_lost(process_id)
        self._store.owner_lost(process_id)


def _wish(size: int) -> int:
    """Bytes to grant where memory is plenty to a process that needs `size` now.

    Room for several objects saves most puts their round trip. For large ones that costs little beside the copy; and a
    small working set stays in the caches and in the process's page tables.
    """
    return size if size > _LARGE else max(_NURSERY, _OBJECTS * size)
