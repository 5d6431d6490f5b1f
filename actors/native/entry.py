"""What a process knows of one object."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...transport.address import ProcessAddress
from ..contract import ExportedRef, Location, Value
from .copies import Copies

if TYPE_CHECKING:
    from .object_table import ObjectTable

PENDING = 0
INLINE = 1
STORED = 2
FAILED = 3

_MANY = 64
"""When so many wait for an entry, or twice, four times... as many, those that have given up are dropped."""

_waiters_lock = threading.Lock()


class ObjectEntry:
    """The state of an object in a process that owns it or holds a ref to it.

    Attributes:
        owner: who owns it; None: this process.
        state: PENDING, INLINE (`data` is the serialized value), STORED (`location`), FAILED (`data` is the error).
        contained: refs inside the value; holding them here keeps their objects alive as long as this one.
        count: `ObjectRef` instances in this process. Only kept for tracked entries; others have exactly one.
        tracked: whether the table must be told when the last local ref goes: the object was exported, imported, or
            occupies the store. Most refs die untracked, and cost nothing then.
        copies: further locations, on other nodes, and who copies it; None before there was any of that (owner's side).
        near: where this node's copy was last, of an object whose `location` is on another node.
        freed: the object was freed before this ref to it came home; it is in no table, and nobody is counted.
        registered: how many times the owner counts this process as a borrower.
        givers: how many of these were taken over from which other processes.
        borrowers: who else holds the object, by process id (owner's side).
        on_free: called on the wire thread when the object is freed (owner's side).
        producer: the task that makes it, kept for cancellation and for making it again (owner's side).

    `state` changes on the wire thread (or before anybody else has the entry); it may be read from any thread.
    """

    __slots__ = (
        "borrowers",
        "contained",
        "copies",
        "count",
        "data",
        "fetching",
        "freed",
        "givers",
        "location",
        "near",
        "object_id",
        "on_free",
        "owner",
        "producer",
        "registered",
        "state",
        "table",
        "tracked",
        "waiters",
    )

    def __init__(self, table: "ObjectTable", object_id: bytes, owner: ProcessAddress | None = None) -> None:
        self.table = table
        self.object_id = object_id
        self.owner = owner
        self.state = PENDING
        self.data = b""
        self.location: Location | None = None
        self.copies: Copies | None = None
        self.near: Location | None = None
        self.contained: list[Any] | None = None
        self.count = 1
        self.tracked = False
        self.registered = 0
        self.givers: dict[str, int] | None = None
        self.fetching = False
        self.freed = False
        self.borrowers: dict[str, int] | None = None
        self.producer: Any = None
        self.on_free: Callable[[], None] | None = None
        self.waiters: list[Callable[[ObjectEntry], object]] | None = None

    def dropped(self) -> None:
        """An `ObjectRef` of this entry was collected. From any thread, also inside a garbage collection."""
        if self.tracked:
            self.table.ref_dropped(self)
        else:
            self.count = 0
            if self.state:  # its task's record, or the job that submitted that, may keep the entry for long
                self.contained = None
                self.data = b""
            if self.tracked:  # became tracked between the two lines, on another thread
                self.table.ref_dropped(self, uncounted=True)

    def when_ready(self, callback: "Callable[[ObjectEntry], object]") -> bool:
        """Call back once when the entry is no longer pending; False (and no call) when that is so already."""
        if self.state:
            return False
        with _waiters_lock:
            if self.state:
                return False
            if self.waiters is None:
                self.waiters = [callback]
            else:
                self.waiters.append(callback)
                count = len(self.waiters)
                if count >= _MANY and not count & (count - 1):
                    self.waiters = [waiter for waiter in self.waiters if not getattr(waiter, "given_up", False)]
        return True

    def forget_waiter(self, callback: "Callable[[ObjectEntry], object]") -> None:
        """Do not call back any more: who waited has given up. Nothing where it was called."""
        with _waiters_lock:
            if self.waiters is not None and callback in self.waiters:
                self.waiters.remove(callback)

    def complete(self, state: int, data: bytes, location: Location | None = None) -> None:
        """Make the entry ready and tell who waits. On the wire thread."""
        self.data = data
        self.location = location
        with _waiters_lock:
            self.state = state
            waiters, self.waiters = self.waiters, None
        if waiters is not None:
            for waiter in waiters:
                waiter(self)

    def value(self) -> Value:
        """The ready entry as it crosses a process boundary."""
        contained: tuple[ExportedRef, ...] = ()
        if self.contained:
            contained = tuple(self.table.exported(ref) for ref in self.contained)
        if self.state == INLINE:
            return Value("i", self.data, None, contained)
        if self.state == STORED:
            return Value("s", b"", self.location, contained)
        return Value("e", self.data)
