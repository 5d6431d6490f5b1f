"""This process's part in its node's object store: writing objects, and reading them without a copy."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ...transport.address import ProcessAddress
from ...transport.error import PeerLostError, RemoteCallError
from ...transport.shm.arena import PAGE, Arena
from ...transport.shm.backing import ArenaLocation
from ...transport.shm.error import ArenaGoneError, ObjectMovedError
from ...transport.shm.nursery import Grant, Nursery
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
from ..serialization import deserialize_error

if TYPE_CHECKING:
    from .hub import Hub


class StoreClient:
    """Objects too large for messages. Any thread but the wire's, unless a method says otherwise."""

    def __init__(self) -> None:
        self._hub: Hub | None = None
        self._arena: Arena | None = None
        self._location = b""
        self._nursery: Nursery | None = None
        self._granting = threading.Lock()
        self._sealed: list[SealedObject] = []

    def attach(self, hub: "Hub", arena_location: bytes) -> None:
        """Say whose store this is and where its arena is. The arena is mapped at the first use."""
        self._hub = hub
        self._location = arena_location

    def close(self) -> None:
        """Leave the arena. What was read and is still referred to stays valid."""
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
            told = SealedObject(object_id, owner.process_id, nursery.grant, offset, size, self._foreign(owner))
            location = Location(hub.identity.node_id, offset, size)
        except BaseException:
            back = nursery.abandon(offset, size)
            if back is not None:
                hub.wire.post(self._return, back)
            raise
        try:
            hub.wire.post(self._seal, told)
        except BaseException:  # Ctrl-C: it may have been posted or not, and the caller will not know of the object
            hub.wire.post(self._seal, told)
            hub.wire.post(lambda place: self.free(object_id, place), location)
            raise
        return location

    def _foreign(self, owner: ProcessAddress) -> ProcessAddress | None:
        """The owner where the node manager may not know it."""
        return None if owner.process_id == self._hub_().process_id else owner

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
        hub.links.notify(hub.node, NODE, ObjectFreed(object_id, location))

    def give_back(self) -> None:
        """Return what is granted and not used: others need it. From any thread."""
        nursery, self._nursery = self._nursery, None
        back = nursery.retire() if nursery is not None else None
        if back is not None:
            self._attached()[0].wire.post(self._return, back)

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
        if nursery is not None and offset is not None:
            return offset, nursery
        with self._granting:
            while True:
                nursery = self._nursery
                offset = nursery.reserve(size) if nursery is not None else None
                if nursery is not None and offset is not None:
                    return offset, nursery
                self._nursery = None
                back = nursery.retire() if nursery is not None else None
                if back is not None:
                    self._hub_().wire.post(self._return, back)
                self._nursery = Nursery(self._grant(size))

    def _grant(self, size: int) -> Grant:
        hub = self._hub_()
        try:
            answer = hub.ask(hub.node, NODE, GrantMemory(size))
        except RemoteCallError as error:
            raise deserialize_error(error.body) from None
        granted: Granted = decoder_of(Granted).decode(answer)
        return Grant(granted.grant, granted.offset, granted.size)

    def _hub_(self) -> "Hub":
        if self._hub is None:
            raise RuntimeError("This process has no object store: it is not connected to a node.")
        return self._hub

    # --- wire thread ---

    def _return(self, back: Any) -> None:
        hub = self._hub_()
        hub.links.notify(hub.node, NODE, ReturnMemory(back.grant, back.offset, back.size, back.touched))

    def _seal(self, sealed: SealedObject) -> None:
        """Tell of sealed objects once per burst."""
        if not self._sealed:
            self._hub_().wire.loop.call_soon(self._tell_sealed)
        self._sealed.append(sealed)

    def _tell_sealed(self) -> None:
        hub = self._hub_()
        sealed, self._sealed = self._sealed, []
        hub.links.notify(hub.node, NODE, ObjectsSealed(sealed))
