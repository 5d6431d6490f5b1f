"""Where the copies of an owned object are, which nodes are copying it, and from whom the next one should.

Every node that copies a large object asks first. Of the nodes that have the object, and of those that are getting it,
it is sent to the one from which it will have it soonest:

    (uploads of that node that are under way + 1) * size  +  hops from there to a whole copy * `LAG`

So a second node that wants what a first one is just copying is sent to the first, which passes on each range as it
arrives, a third to the second: a chain, in which every link carries the object once. Objects that are small beside the
lag of a hop spread like a tree. A node is never sent to one that waits for it itself.
"""

from collections.abc import Callable

import msgspec

from ...transport.channel import Channel
from ...transport.protocol import Call
from ..contract import CopyDropped, FindSource, Location, ObjectCopied, PullEnded, SourceFound, decoder_of, encode
from .entry import STORED, ObjectEntry

LAG = 16 << 20
"""How many bytes a node is behind the one that it copies from: those of the ranges that are under way, both ways."""


class Copying(msgspec.Struct):
    """A node that copies an object.

    Attributes:
        process: its node process.
        source: the node that it was sent to.
        hops: how many transfers it is from a whole copy.
    """

    process: str
    source: bytes
    hops: int


class Directory:
    """A process's part in copying its objects. On the wire thread.

    Args:
        find: the entry of an object that others know of.
        free: frees a copy.
        recover: has an owned object whose `location` is lost be had from a copy.
    """

    def __init__(
        self,
        find: Callable[[bytes], ObjectEntry | None],
        free: Callable[[bytes, Location], None],
        recover: Callable[[ObjectEntry, Location | None], None],
    ) -> None:
        self._entry = find
        self._free = free
        self._recover = recover
        self._copying: dict[bytes, dict[bytes, Copying]] = {}

    def on_find_source(self, channel: Channel, call: Call) -> None:
        """A node is about to copy an object: from where?"""
        asked: FindSource = decoder_of(FindSource).decode(call.body)
        entry = self._entry(asked.object_id)
        found = SourceFound()
        if entry is not None and entry.owner is None and entry.state == STORED:
            found = self.source_for(entry, asked, channel.peer.process_id)
        channel.reply(call.call_id, encode(found))

    def on_copied(self, _: Channel, call: Call) -> None:
        """A node has made itself a copy of an object of this process."""
        told: ObjectCopied = decoder_of(ObjectCopied).decode(call.body)
        self.note_copy(told.object_id, told.location)

    def note_copy(self, object_id: bytes, location: Location) -> None:
        """There is a copy of an object, of one that this process owns."""
        self.end(object_id, location.node_id)
        entry = self._entry(object_id)
        if entry is None or entry.owner is not None or entry.state != STORED:
            self._free(object_id, location)  # it was freed, or is being made again, meanwhile
        elif entry.copies is None:
            entry.copies = [location]
        else:
            # A node that tells of a copy has none of those it told of before. But the first one there may be no such:
            # a task that ran again may have made it (`Recovery.made`), and then only this process frees it.
            there = [copy for copy in entry.copies if copy.node_id == location.node_id and copy != location]
            kept = [copy for copy in entry.copies if copy.node_id != location.node_id]
            entry.copies = [*kept, *there[:1], location]

    def on_dropped(self, _: Channel, call: Call) -> None:
        """A copy had to make room."""
        told: CopyDropped = decoder_of(CopyDropped).decode(call.body)
        entry = self._entry(told.object_id)
        if entry is not None and entry.copies and told.location in entry.copies:
            entry.copies.remove(told.location)

    def on_pull_ended(self, _: Channel, call: Call) -> None:
        """A node does not copy an object any more."""
        told: PullEnded = decoder_of(PullEnded).decode(call.body)
        self.end(told.object_id, told.node_id)

    def process_lost(self, process_id: str) -> None:
        """A node is gone, perhaps."""
        for object_id, copying in list(self._copying.items()):
            for node_id, one in list(copying.items()):
                if one.process == process_id:
                    self.end(object_id, node_id)

    def copying(self, object_id: bytes) -> dict[bytes, Copying]:
        """The nodes that copy an object."""
        return self._copying.get(object_id, {})

    def end(self, object_id: bytes, node_id: bytes) -> None:
        """A node does not copy an object any more."""
        copying = self._copying.get(object_id)
        if copying is not None and copying.pop(node_id, None) is not None and not copying:
            del self._copying[object_id]

    def source_for(self, entry: ObjectEntry, asked: FindSource, process_id: str) -> SourceFound:
        """The node that the asking one, whose process is named, is to copy a stored object from."""
        self.end(entry.object_id, asked.node_id)
        for node_id in asked.lost:
            self.end(entry.object_id, node_id)
            self._lost(entry, node_id)
        location = entry.location
        if location is None:
            return SourceFound()
        copying = self.copying(entry.object_id)
        source = choose(
            location.size,
            [copy.node_id for copy in (location, *(entry.copies or ()))],
            copying,
            asked.node_id,
            {asked.node_id, *asked.avoid, *asked.lost},
        )
        if not source:
            return SourceFound()
        hops = copying[source].hops if source in copying else 0
        self._copying.setdefault(entry.object_id, {})[asked.node_id] = Copying(process_id, source, hops + 1)
        return SourceFound(source, hops > 0, location.size)

    def _lost(self, entry: ObjectEntry, node_id: bytes) -> None:
        """A node does not have its copy any more, or sends what is none."""
        if entry.location is not None and entry.location.node_id == node_id:
            if entry.copies:
                self._free(entry.object_id, entry.location)
                self._recover(entry, entry.location)
            return
        gone: list[Location] = [copy for copy in entry.copies or () if copy.node_id == node_id]
        for copy in gone:
            entry.copies = [other for other in entry.copies or () if other != copy]
            self._free(entry.object_id, copy)


def choose(size: int, whole: list[bytes], copying: dict[bytes, Copying], asking: bytes, avoid: set[bytes]) -> bytes:
    """The node from which `asking` will have an object of `size` bytes soonest; b"" where there is none.

    Args:
        size: of the object.
        whole: nodes that have all of it.
        copying: those that are getting it.
        asking: the node that wants it.
        avoid: nodes that it must not be sent to.
    """
    uploads: dict[bytes, int] = {}
    for one in copying.values():
        uploads[one.source] = uploads.get(one.source, 0) + 1
    best, least = b"", float("inf")
    for node_id, hops in [*((node_id, 0) for node_id in whole), *((n, one.hops) for n, one in copying.items())]:
        cost = (uploads.get(node_id, 0) + 1) * size + hops * LAG
        if cost < least and node_id not in avoid and not _waits_for(node_id, asking, copying):
            best, least = node_id, cost
    return best


def _waits_for(node_id: bytes, other: bytes, copying: dict[bytes, Copying]) -> bool:
    """Whether what a node is getting comes from another one, however many are between them."""
    seen: set[bytes] = set()
    while (one := copying.get(node_id)) is not None and node_id not in seen:
        if one.source == other:
            return True
        seen.add(node_id)
        node_id = one.source
    return False
