"""The objects of a node's store: in memory, on disk, on their way between, or waiting for their last reader."""

from collections import Counter, OrderedDict
from typing import TypeVar

import msgspec

K = TypeVar("K")


class StoredObject(msgspec.Struct):
    """One copy of an object on this node.

    Attributes:
        key: names this copy; the same object may be here twice (a retried task made it again).
        writer: the process that wrote it, in whose page tables the memory is.
        maker: the same, of a result that it wrote for its owner, another process; "" once its end was seen to.
        primary: the copy that must not be lost; a secondary can be fetched again from another node.
        home: where it was written, by which its owner knows this copy.
        offset: where it is in memory; None: it is not.
        url: where it is in the spill storage; "" where it is not.
        freed: nobody needs it; it stays until its memory can be taken back.
        spilling, restoring, reclaiming: an answer from the shell is awaited.
        attempts: how often a reader was in the way of reclaiming it.
        retry_at: until when it is left alone, because a reader has it or will have it; None: it is not.
        located_at, shelter: when a reader was last told where it is, and for how long it was left in memory for that.
        waiters: locate requests to answer when it is in memory.
        wanted_until: until when a secondary copy that nobody has read yet is taken to be wanted soon.
    """

    key: int
    object_id: bytes
    owner: str
    writer: str
    size: int
    primary: bool
    home: int
    offset: int | None
    maker: str = ""
    url: str = ""
    freed: bool = False
    spilling: bool = False
    restoring: bool = False
    reclaiming: bool = False
    attempts: int = 0
    retry_at: float | None = None
    located_at: float = float("-inf")
    shelter: float = 0.0
    waiters: list[int] = msgspec.field(default_factory=list[int])
    wanted_until: float = 0.0

    @property
    def busy(self) -> bool:
        """Whether an answer from the shell is awaited."""
        return self.spilling or self.restoring or self.reclaiming


class ObjectTable:
    """All copies, by key, object, place and owner, and in order of use. Keeps the sums that the policy needs."""

    def __init__(self) -> None:
        self.resident = 0  # bytes of memory that copies take, freed or not
        self.by_key: dict[int, StoredObject] = {}
        self._by_id: dict[bytes, dict[int, StoredObject]] = {}
        self._by_owner: dict[str, dict[int, StoredObject]] = {}
        self._by_maker: dict[str, dict[int, StoredObject]] = {}
        # Copies that could leave memory, least recently used first.
        self._secondary: OrderedDict[int, StoredObject] = OrderedDict()
        self._wanted: OrderedDict[int, StoredObject] = OrderedDict()  # secondaries that are about to be read
        self._primary: OrderedDict[int, StoredObject] = OrderedDict()
        self._on_disk: OrderedDict[int, StoredObject] = OrderedDict()  # those of the primaries that need no copying
        self._droppable = 0  # bytes of `_secondary`
        self._next = 1

    def add(self, object_id: bytes, owner: str, writer: str, offset: int, size: int, primary: bool) -> StoredObject:
        """Note a copy in memory."""
        stored = StoredObject(self._next, object_id, owner, writer, size, primary, offset, offset)
        self._next += 1
        self.by_key[stored.key] = stored
        self._by_id.setdefault(object_id, {})[stored.key] = stored
        self._by_owner.setdefault(owner, {})[stored.key] = stored
        if primary and owner != writer:
            stored.maker = writer
            self._by_maker.setdefault(writer, {})[stored.key] = stored
        self.resident += size
        self.use(stored)
        return stored

    def copies(self, object_id: bytes) -> list[StoredObject]:
        """The copies of an object that are not freed, newest last."""
        return list(self._by_id.get(object_id, {}).values())

    def owned_by(self, owner: str) -> list[StoredObject]:
        """The copies that a process owns and that are not freed."""
        return list(self._by_owner.get(owner, {}).values())

    def take_made_by(self, maker: str) -> list[StoredObject]:
        """The copies that a process made for others and that are not freed. Each is given out once."""
        made = list(self._by_maker.pop(maker, {}).values())
        for stored in made:
            stored.maker = ""
        return made

    def use(self, stored: StoredObject, newest: bool = True) -> None:
        """Note that a copy could leave memory from now on, last of all (`newest`) or first of all."""
        for order in self._orders(stored):
            if order is self._secondary and stored.key not in order:
                self._droppable += stored.size
            order[stored.key] = stored
            order.move_to_end(stored.key, last=newest)

    def promote(self, stored: StoredObject) -> None:
        """Make a secondary copy the primary one."""
        if stored.primary:
            return
        waits = stored.key in self._secondary or stored.key in self._wanted
        self.occupy(stored)
        stored.primary = True
        if waits:
            self.use(stored)

    def occupy(self, stored: StoredObject) -> None:
        """Note that a copy must not leave memory at the moment, or is about to."""
        for order in self._orders(stored):
            if order.pop(stored.key, None) is not None and order is self._secondary:
                self._droppable -= stored.size

    def least_recently_used(self, spillable: bool, now: float) -> StoredObject | None:
        """The copy to take out of memory next.

        Secondaries first, then primaries if they are on disk or `spillable`, last what is about to be read.
        """
        self._lapse(now)
        for order in (self._secondary, self._primary if spillable else self._on_disk, self._wanted):
            for stored in order.values():
                return stored
        return None

    def droppable_bytes(self, now: float) -> int:
        """Memory of copies that can be fetched again, and that nobody is known to want."""
        self._lapse(now)
        return self._droppable

    def want(self, stored: StoredObject, until: float) -> None:
        """Note that somebody is about to read a secondary copy, or (`until` is 0) has."""
        could_leave = stored.key in self._secondary or stored.key in self._wanted
        self.occupy(stored)
        stored.wanted_until = until
        if could_leave:
            self.use(stored)

    def _lapse(self, now: float) -> None:
        """What was to be read soon and was not is nothing special any more."""
        while self._wanted and (stored := next(iter(self._wanted.values()))).wanted_until <= now:
            self.want(stored, 0.0)

    def _orders(self, stored: StoredObject) -> "tuple[OrderedDict[int, StoredObject], ...]":
        if not stored.primary:
            return (self._wanted if stored.wanted_until else self._secondary,)
        return (self._primary, self._on_disk) if stored.url else (self._primary,)

    def free(self, stored: StoredObject) -> None:
        """Note that nobody needs a copy: only its key is still known."""
        stored.freed = True
        self.occupy(stored)
        _take_out(self._by_id, stored.object_id, stored.key)
        _take_out(self._by_owner, stored.owner, stored.key)
        if stored.maker:
            _take_out(self._by_maker, stored.maker, stored.key)

    def forget(self, stored: StoredObject) -> None:
        """Drop a copy that is neither in memory nor on disk."""
        if not stored.freed:
            self.free(stored)
        del self.by_key[stored.key]

    def place(self, stored: StoredObject, offset: int) -> None:
        """Note that a copy has memory again."""
        stored.offset = offset
        self.resident += stored.size

    def unplace(self, stored: StoredObject) -> int:
        """Note that a copy's memory is gone; returns where it was."""
        if stored.offset is None:
            raise AssertionError(f"object {stored.object_id.hex()} has no memory to give up")
        offset, stored.offset = stored.offset, None
        self.resident -= stored.size
        return offset

    def bytes_by_owner(self) -> "Counter[str]":
        """Memory that each owner's objects take."""
        held: Counter[str] = Counter()
        for stored in self.by_key.values():
            if stored.offset is not None:
                held[stored.owner] += stored.size
        return held


def _take_out(index: dict[K, dict[int, StoredObject]], name: K, key: int) -> None:
    copies = index[name]
    del copies[key]
    if not copies:
        del index[name]
