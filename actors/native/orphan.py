"""Results that a worker has stored and whose reply was lost with it, so that their owner does not know of them."""

from typing import TYPE_CHECKING

import msgspec

from ...transport.channel import Channel
from ...transport.protocol import Call
from ..contract import WriterLost, WrittenCopy, decoder_of
from .entry import STORED

if TYPE_CHECKING:
    from .hub import Hub


class Orphans:
    """Answers node managers that ask which copies of a lost worker's making this process knows. On the wire thread.

    A reply of the worker may still be on its way when the question is there. Nothing comes any more when the channel to
    the worker has ended: then, and not before, what this process does not know is nobody's. The node manager frees the
    very copies that it has asked about, so an answer cannot harm what a retry has stored meanwhile, not even in the
    same place.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._waiting: dict[str, list[tuple[Channel, int, WriterLost]]] = {}

    def on_writer_lost(self, channel: Channel, call: Call) -> None:
        """A node manager asks."""
        lost: WriterLost = decoder_of(WriterLost).decode(call.body)
        if self._hub.links.has_channel(lost.process_id):
            self._waiting.setdefault(lost.process_id, []).append((channel, call.call_id, lost))
        else:
            self._answer(channel, call.call_id, lost)

    def process_lost(self, process_id: str) -> None:
        """A channel has ended, and all that came through it was handled."""
        for question in self._waiting.pop(process_id, ()):
            self._answer(*question)

    def _answer(self, channel: Channel, call_id: int, lost: WriterLost) -> None:
        unknown = [copy.key for copy in lost.copies if not self._is_known(copy, lost.node_id)]
        channel.reply(call_id, msgspec.msgpack.encode(unknown))

    def _is_known(self, copy: WrittenCopy, node_id: bytes) -> bool:
        entry = self._hub.table.find(copy.object_id)
        if entry is None or entry.state != STORED:
            return False  # freed, or being made again
        return any(
            place is not None and place.node_id == node_id and place.offset == copy.offset
            for place in (entry.location, *(entry.copies or ()))
        )
