"""This process's part in its node's object store: writing objects, and reading them without a copy."""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ...transport.address import ProcessAddress
from ...transport.error import PeerLostError
from ...transport.shm.arena import PAGE, Arena, private_view
from ...transport.shm.backing import ArenaLocation
from ...transport.shm.error import ArenaGoneError, ObjectMovedError
from ...transport.shm.nursery import Grant, Nursery, Return
from ...transport.shm.reclaimer import Reclaimer
from ...transport.shm.stored_object import object_size
from ..contract import (
    NODE,
    Granted,
    GrantMemory,
    Location,
    ObjectFreed,
    ObjectsSealed,
    ReturnMemory,
    SealedObject,
    decoder_of,
)
from ..serialization import set_private_view
from .fresh_object import AGE, FreshObjects

if TYPE_CHECKING:
    from .hub import Hub

_AT_HAND = 32 << 20
"""Bytes that a process may keep for objects to come; the store can always ask for them."""


class StoreClient:
    """Objects too large for messages. Any thread but the wire's, unless a method says otherwise."""

    def __init__(self) -> None:
        self._hub: Hub | None = None
        self._arena: Arena | None = None
        self._location = b""
        self._nursery: Nursery | None = None
        self._granting = threading.Lock()
        self._reclaimer: Reclaimer | None = None
        self._foreign: deque[SealedObject] = deque()  # of other owners; as `_new`
        self._new: deque[SealedObject] = deque()  # by any thread; taken by the wire thread
        self._fresh = FreshObjects()
        self._settling = False
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, hub: "Hub", arena_location: bytes) -> None:
        """Say whose store this is and where its arena is. The arena is mapped at the first use."""
        self._hub = hub
        self._location = arena_location
        set_private_view(private_view)

    def leave(self) -> None:
        """Tell the node manager nothing more: it looks itself when this process is gone. On the wire thread."""
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        """Leave the arena. What was read and is still referred to stays valid."""
        if self._reclaimer is not None:
            self._reclaimer.close()
        if self._arena is not None:
            self._arena.close()

    def write(self, object_id: bytes, owner: ProcessAddress, parts: Sequence[Any]) -> Location:
        """Write an object and tell the node manager. Waits for memory where there is none.

        Raises:
            ObjectStoreFullError: there is no room, even after spilling.
        """
        hub, arena = self._attached()
        size = object_size(parts, PAGE)
        offset, nursery = self._reserve(size)
        try:
            arena.write(offset, nursery.grant, object_id, bytes.fromhex(owner.process_id), parts)
            foreign = None if owner.process_id == hub.process_id else owner
            told = SealedObject(object_id, owner.process_id, nursery.grant, offset, size, foreign)
            location = Location(hub.identity.node_id, offset, size)
        except BaseException:
            arena.clear(offset)  # an interruption can come right after the object was sealed
            back = nursery.release(offset, size)
            if back is not None:
                hub.wire.post(self._return, [back])
            raise
        try:
            if foreign is not None:
                self._foreign.append(told)
                hub.wire.post(self._seal, None)
            else:
                self._new.append(told)
                if not self._settling:  # waking the wire thread for each would cost more than the copy of 1 MiB
                    self._settling = True
                    hub.wire.post(self._settle, None)
        except BaseException:  # Ctrl-C: nobody will know of the object
            hub.wire.post(self._take_back, (told, location))
            raise
        return location

    def read(self, object_id: bytes, location: Location) -> list[memoryview] | None:
        """The parts of an object of this node, read-only, without a copy.

        None where it is not at `location` (any more).
        """
        hub, arena = self._attached()
        if location.node_id != hub.identity.node_id:
            return None
        try:
            return arena.read(object_id, location.offset)
        except ObjectMovedError:
            return None

    def free(self, object_id: bytes, location: Location) -> None:
        """Nobody needs an object of this process any more. On the wire thread."""
        hub, _ = self._attached()
        self._gather()
        if location.node_id == hub.identity.node_id and self._fresh.drop(object_id, location.offset):
            self._reuse()
        else:
            hub.links.notify(hub.node, NODE, ObjectFreed(object_id, location))

    def give_back(self) -> None:
        """Return what is granted and not used: others need it. On the wire thread."""
        self.tell_all()
        self._retire()

    def tell_all(self) -> None:
        """Tell the node manager of everything that is here. On the wire thread."""
        self._seal()
        self._gather()
        self._tell_of(*self._fresh.take())

    def _attached(self) -> "tuple[Hub, Arena]":
        if self._hub is None:
            raise RuntimeError("This process has no object store: it is not connected to a node.")
        if self._arena is None:
            self._hub.node_loss.check()
            with self._granting:
                if self._arena is None:
                    self._arena = self._attach_arena(self._hub)
        return self._hub, self._arena

    def _attach_arena(self, hub: "Hub") -> Arena:
        try:
            return Arena.attach(msgspec.msgpack.decode(self._location, type=ArenaLocation))
        except ArenaGoneError as error:
            if not hub.identity.is_driver:
                # The node process is dead, which the wire is about to notice. A worker ends with it, before this can
                # pass for an error of the task, which is then run again elsewhere.
                hub.on_node_lost(PeerLostError(str(error)))
            raise

    def _reserve(self, size: int) -> tuple[int, Nursery]:
        nursery = self._nursery
        offset = nursery.reserve(size) if nursery is not None else None
        while nursery is None or offset is None:
            with self._granting:
                nursery = self._hub_().run(self._room(size))
            offset = nursery.reserve(size)
        return offset, nursery

    async def _room(self, size: int) -> Nursery:
        """A nursery with so much room. What was dropped before this was asked for is known by now."""
        hub, nursery = self._hub_(), self._nursery
        self._reuse()
        if nursery is not None and nursery.remaining >= size:
            return nursery
        self._retire()
        self.tell_all()  # perhaps it has to be spilled
        granted: Granted = decoder_of(Granted).decode(await hub.request(hub.node, NODE, GrantMemory(size)))
        self._nursery = nursery = Nursery(Grant(granted.grant, granted.offset, granted.size))
        return nursery

    def _hub_(self) -> "Hub":
        if self._hub is None:
            raise RuntimeError("This process has no object store: it is not connected to a node.")
        return self._hub

    # --- wire thread ---

    def _return(self, back: list[Return]) -> None:
        hub = self._hub_()
        for part in back:
            hub.links.notify(hub.node, NODE, ReturnMemory(part.grant, part.offset, part.size, part.touched))

    def _retire(self) -> None:
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            self._return(nursery.retire())

    def _seal(self, _: None = None) -> None:
        """Tell of objects for others that were written since the last time."""
        self._tell_of([self._foreign.popleft() for _ in range(len(self._foreign))], [])

    def _take_back(self, object_: tuple[SealedObject, Location]) -> None:
        """Free an object that was told of, or was about to be."""
        sealed, location = object_
        if sealed.owner_address is not None:
            self._foreign.append(sealed)  # perhaps for the second time, which does no harm
            self._seal()
        self.free(sealed.object_id, location)
        self._settle()

    def _tell_of(self, kept: list[SealedObject], dropped: list[SealedObject]) -> None:
        hub = self._hub_()
        if kept or dropped:
            hub.links.notify(hub.node, NODE, ObjectsSealed([*kept, *dropped]))
        for sealed in dropped:
            place = Location(hub.identity.node_id, sealed.offset, sealed.size)
            hub.links.notify(hub.node, NODE, ObjectFreed(sealed.object_id, place))

    def _reuse(self) -> None:
        """Take the memory of dropped objects back, except where a reader still has them."""
        _, arena = self._attached()
        if self._reclaimer is None:
            self._reclaimer = Reclaimer(arena)
        nursery = self._nursery
        for sealed in self._fresh.dropped():
            if not self._reclaimer.reclaim(sealed.offset, sealed.size):
                continue
            self._fresh.reused(sealed.object_id)
            if nursery is not None and nursery.grant == sealed.grant:
                back = nursery.release(sealed.offset, sealed.size)
            else:
                back = Return(sealed.grant, sealed.offset, sealed.size, touched=True)
            if back is not None:
                self._return([back])

    def _gather(self) -> None:
        """Take note of what other threads have sealed."""
        now = self._hub_().wire.loop.time()
        while self._new:
            self._fresh.add(self._new.popleft(), now)

    def _settle(self, _: None = None) -> None:
        """Tell of what has stayed for a moment; come again until there is nothing more.

        Then the memory of very large objects is returned, of which none has come for a while.
        """
        loop = self._hub_().wire.loop
        self._settling = True
        self._gather()
        self._reuse()
        self._tell_of(*self._fresh.take(before=loop.time() - AGE))
        if not self._fresh:
            if self._nursery is not None and self._nursery.remaining > _AT_HAND:
                self._retire()
            self._settling = False
            if not self._new:
                return
        self._settling = True
        self._timer = loop.call_later(AGE, self._settle)
