"""What a process hears of copies of its objects, and is asked: the wire's side of `Copies` and `CopyTree`.

Every node that copies a large object asks first, from which node (`copy_tree.py`). Nothing of what is done here looks
at all objects, at all of an object's copies, or at all nodes that are getting it.
"""

from collections.abc import Callable, Mapping

from ...transport.channel import Channel
from ...transport.protocol import Call
from ..contract import CopyDropped, FindSource, Location, ObjectCopied, PullEnded, SourceFound, decoder_of, encode
from .copies import Copies
from .copy_tree import Copying
from .entry import STORED, ObjectEntry

Pull = tuple[bytes, bytes]
"""An object, and a node that copies it."""


class Directory:
    """A process's part in copying its objects. On the wire thread. Its length: how many copies are being made.

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
        self._process_of: dict[Pull, str] = {}
        self._pulls_of: dict[str, dict[Pull, None]] = {}

    def __len__(self) -> int:
        return len(self._process_of)

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
        else:
            _copies(entry).add(location)

    def on_dropped(self, _: Channel, call: Call) -> None:
        """A copy had to make room."""
        told: CopyDropped = decoder_of(CopyDropped).decode(call.body)
        entry = self._entry(told.object_id)
        if entry is not None and entry.copies is not None:
            entry.copies.discard(told.location)

    def on_pull_ended(self, _: Channel, call: Call) -> None:
        """A node does not copy an object any more."""
        told: PullEnded = decoder_of(PullEnded).decode(call.body)
        self.end(told.object_id, told.node_id)

    def process_lost(self, process_id: str) -> None:
        """A node is gone, perhaps."""
        for object_id, node_id in list(self._pulls_of.get(process_id, ())):
            self.end(object_id, node_id)

    def copying(self, object_id: bytes) -> Mapping[bytes, Copying]:
        """The nodes that copy an object, as far as it is known."""
        entry = self._entry(object_id)
        return entry.copies.copying if entry is not None and entry.copies is not None else {}

    def end(self, object_id: bytes, node_id: bytes) -> None:
        """A node does not copy an object any more."""
        pull = (object_id, node_id)
        process_id = self._process_of.pop(pull, None)
        if process_id is None:
            return
        pulls = self._pulls_of[process_id]
        del pulls[pull]
        if not pulls:
            del self._pulls_of[process_id]
        entry = self._entry(object_id)
        if entry is not None and entry.copies is not None:  # else it was freed meanwhile
            entry.copies.end(node_id)

    def source_for(self, entry: ObjectEntry, asked: FindSource, process_id: str) -> SourceFound:
        """The node that the asking one, whose process is named, is to copy a stored object from."""
        self.end(entry.object_id, asked.node_id)
        for node_id in asked.lost:
            self.end(entry.object_id, node_id)
            self._lost(entry, node_id)
        location = entry.location
        if location is None:
            return SourceFound()
        began = _copies(entry).begin(asked.node_id, location, {*asked.avoid, *asked.lost})
        if began is None:
            return SourceFound()
        pull = (entry.object_id, asked.node_id)
        self._process_of[pull] = process_id
        self._pulls_of.setdefault(process_id, {})[pull] = None
        return SourceFound(began.source, began.hops > 1, location.size)

    def _lost(self, entry: ObjectEntry, node_id: bytes) -> None:
        """A node does not have its copy any more, or sends what is none."""
        if entry.location is not None and entry.location.node_id == node_id:
            if entry.copies:
                self._free(entry.object_id, entry.location)
                self._recover(entry, entry.location)
        elif entry.copies is not None:
            for copy in entry.copies.leave(node_id):
                self._free(entry.object_id, copy)


def _copies(entry: ObjectEntry) -> Copies:
    if entry.copies is None:
        entry.copies = Copies()
    return entry.copies
