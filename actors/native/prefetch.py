"""Says ahead of need which objects of other nodes this process will read, so that they come together and in time.

Three occasions: a task arrives whose arguments lie elsewhere, while another still runs; of several objects that are
read one after the other, the first turns out to be on another node; `wait` has found objects ready.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..contract import NODE, Dependency, Invocation, WantedObject, WantObjects
from ..object_ref import ObjectRef
from .entry import STORED, ObjectEntry

if TYPE_CHECKING:
    from .hub import Hub

_REMEMBERED = 10_000
"""Objects that `wait` has found ready, so as to ask for each once."""

Upcoming = Sequence[ObjectRef[Any]] | Sequence[Dependency]


class Prefetch:
    """Tells the node manager what will be read. Any thread, unless a method says otherwise."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._reading = threading.local()
        self._told: OrderedDict[bytes, None] = OrderedDict()

    @contextmanager
    def reading(self, upcoming: Upcoming, deadline: float | None = None) -> Generator[None]:
        """Within it, this thread reads these one after the other, until `deadline` on the clock of `time.monotonic`."""
        try:
            self._reading.upcoming, self._reading.deadline = upcoming, deadline
            yield
        finally:
            self._reading.upcoming = self._reading.deadline = None

    def time_left(self) -> float | None:
        """Seconds that this thread may still take to read; None: as many as it needs."""
        deadline: float | None = getattr(self._reading, "deadline", None)
        return None if deadline is None else max(0.001, deadline - time.monotonic())

    def missed(self) -> None:
        """What this thread is about to read is on another node: so may be what it reads next."""
        upcoming: Upcoming | None = getattr(self._reading, "upcoming", None)
        if upcoming is None or len(upcoming) < 2:  # noqa: PLR2004 - it is the one that is being asked for
            return
        self._reading.upcoming = None
        self._hub.wire.post(self._want, (self._elsewhere(upcoming), True))

    def arrived(self, invocation: Invocation) -> None:
        """A task waits here for others to end. On the wire thread."""
        upcoming = [*invocation.dependencies, *([invocation.stored_args] if invocation.stored_args else [])]
        self._want((self._elsewhere(upcoming), True))

    def ready(self, refs: Iterable[Any]) -> None:
        """These were found ready, and will perhaps be read."""
        found: list[ObjectRef[Any]] = []
        for ref in refs:
            entry = ref._entry
            if not isinstance(entry, ObjectEntry) or entry.state != STORED or entry.object_id in self._told:
                continue
            self._told[entry.object_id] = None
            found.append(ref)
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        wanted = self._elsewhere(found)
        if wanted:
            self._hub.wire.post(self._want, (wanted, False))

    def _elsewhere(self, upcoming: Upcoming) -> list[WantedObject]:
        home = self._hub.identity.node_id
        wanted: list[WantedObject] = []
        for item in upcoming:
            if isinstance(item, Dependency):
                location, ref = item.value.location, item.ref
                if location is not None and ref is not None and location.node_id != home:
                    wanted.append(WantedObject(ref.object_id, ref.owner, location))
                continue
            entry: ObjectEntry = item._entry
            location = entry.location
            if location is not None and entry.near is None and entry.state == STORED and location.node_id != home:
                wanted.append(WantedObject(entry.object_id, entry.owner or self._hub.address, location))
        return wanted

    def _want(self, want: tuple[list[WantedObject], bool]) -> None:
        wanted, soon = want
        if wanted:
            self._hub.links.notify(self._hub.node, NODE, WantObjects(wanted, soon))
