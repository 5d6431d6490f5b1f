"""All nodes' stores in one. Objects may be read until they are freed; each copy is freed once, and may get lost."""

import itertools

from limelight.actors.contract import CORE, Location, ObjectCopied, encode
from limelight.transport.protocol import Call

from .network import NODE

NODES = [b"a", b"b", b"c"]


class StoreClient:
    """A process's way to the store."""

    def __init__(self, store, process_id):
        self._store, self._process_id = store, process_id
        self.read, self.free = store.read, store.free

    def write(self, object_id, owner, parts):
        return self._store.write(self._process_id, object_id, owner, parts)


class Store:
    """Objects by id and place.

    Attributes:
        lost: what is gone although its owner has not freed it.
    """

    def __init__(self, world):
        self.world = world
        self.objects = {}
        self.owners = {}
        self.makers = {}
        self.lost = set()
        self.copies = set()
        self.offsets = itertools.count(1)

    def _place(self, object_id, parts, elsewhere=b""):
        node_id = self.world.random.choice([node for node in NODES if node != elsewhere])
        location = Location(node_id, next(self.offsets), 1)
        self.objects[object_id, location] = parts
        return location

    def write(self, maker, object_id, owner, parts):
        self.owners[object_id] = owner
        location = self._place(object_id, [bytes(part) for part in parts])
        self.makers[object_id, location] = maker
        return location

    def made(self, maker, owner):
        """What one process has made for another, by node."""
        found = {}
        for key in self.objects:
            if self.makers.get(key) == maker != owner and self.owners[key[0]].process_id == owner:
                found.setdefault(key[1].node_id, []).append(key)
        return found

    def read(self, object_id, location):
        parts = self.objects.get((object_id, location))
        if parts is None:
            if not self._may_be_gone((object_id, location)):
                self.world.problem(f"{object_id.hex()} was freed that is being read")
            return None
        return [memoryview(part) for part in parts]

    def _may_be_gone(self, key):
        """It was lost, or is read for somebody who is dead or was given up."""
        world = self.world
        return key in self.lost or world.faults or world.deaths or world.gave_up

    def locate(self, object_id, hint):
        return encode(hint) if (object_id, hint) in self.objects else b""

    def free(self, object_id, location):
        if (object_id, location) in self.lost:
            self.lost.discard((object_id, location))
        else:
            del self.objects[object_id, location]

    # faults

    def lose(self):
        """An object's bytes are gone, with the node or the disk that had them."""
        self._lose(self.world.random.choice(list(self.objects)))

    def _lose(self, key):
        del self.objects[key]
        self.lost.add(key)

    def copy(self):
        """A node makes itself a copy, in place of one it may have, and tells the owner."""
        object_id, location = key = self.world.random.choice(list(self.objects))
        owner = self.world.by_id[self.owners[object_id].process_id]
        if owner.dead:
            return
        made = self._place(object_id, self.objects[key], elsewhere=location.node_id)
        for other in [other for other in self.objects if other[0] == object_id and other[1] not in {made, location}]:
            if other[1].node_id == made.node_id and other in self.copies:
                self._lose(other)
        self.copies.add((object_id, made))
        body = encode(ObjectCopied(object_id, made))
        self.world.send(
            NODE.process_id, owner.id, lambda process: process.hub.on_call(None, Call(0, CORE, "ObjectCopied", body))
        )
