"""Refs that a process hands on to another without owning them, until it is certain whether they have arrived.

Who returns a ref has its owner count the receiver first (see borrowing.py). Should the giver die then, the owner cannot
know whether the ref got there: a count for a receiver that never got it would keep the object for ever, and one taken
back from a receiver that did would free it too early. So the owner notes who was given what by whom, and when a giver
is lost, asks the receivers how many of its refs they have.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call, Reply
from ..contract import CORE, AskTaken, decoder_of, encode
from .entry import ObjectEntry

if TYPE_CHECKING:
    from .hub import Hub


class _Given:
    """How often a giver has had a receiver counted for an object, less what the receiver has released of that."""

    __slots__ = ("count", "giver", "receiver")

    def __init__(self, giver: ProcessAddress, receiver: ProcessAddress) -> None:
        self.giver = giver
        self.receiver = receiver
        self.count = 0


class HandOvers:
    """A process's part in this, as owner and as receiver. On the wire thread."""

    def __init__(self, hub: "Hub", lend: Callable[[ObjectEntry, ProcessAddress, int], None]) -> None:
        self._hub = hub
        self._lend = lend
        self._given: dict[str, dict[tuple[bytes, str], _Given]] = {}
        self._awaiting: dict[str, list[Callable[[], None]]] = {}

    def __len__(self) -> int:
        return sum(len(given) for given in self._given.values())

    # --- as owner ---

    def given(self, object_id: bytes, giver: ProcessAddress, receiver: ProcessAddress, count: int) -> None:
        """A process has had another counted, to which it is about to hand an object's ref."""
        given = self._given.setdefault(giver.process_id, {})
        key = object_id, receiver.process_id
        if key not in given:
            given[key] = _Given(giver, receiver)
        given[key].count += count

    def released(self, object_id: bytes, receiver: str, taken: tuple[tuple[str, int], ...]) -> None:
        """A receiver has let go of refs that it was handed by others."""
        for giver, count in taken:
            given = self._given.get(giver)
            found = None if given is None else given.get((object_id, receiver))
            if given is not None and found is not None:
                found.count -= count
                if found.count <= 0:
                    del given[object_id, receiver]
                    if not given:
                        del self._given[giver]

    def process_lost(self, process_id: str) -> None:
        """A process is gone: ask whom it has handed refs to; answer who has asked about it; it has no refs itself."""
        self.receiver_lost(process_id)
        for (object_id, _), found in list(self._given.get(process_id, {}).items()):
            self._ask(object_id, found)
        for answer in self._awaiting.pop(process_id, ()):
            answer()

    def receiver_lost(self, process_id: str) -> None:
        """A process is gone, or cannot be reached: whatever it was handed."""
        for giver, given in list(self._given.items()):
            for key in [key for key in given if key[1] == process_id]:
                del given[key]
            if not given:
                del self._given[giver]

    def _ask(self, object_id: bytes, found: _Given) -> None:
        giver, receiver = found.giver, found.receiver

        def answered(reply: Reply | TransportError) -> None:
            left = found.count
            self.released(object_id, receiver.process_id, ((giver.process_id, left),))
            entry = self._hub.table.find(object_id)
            if entry is not None and not isinstance(reply, TransportError):
                surplus = left - msgspec.msgpack.decode(reply.body, type=int)
                if surplus > 0:
                    self._lend(entry, receiver, -surplus)

        self._hub.links.ask(receiver, CORE, AskTaken(object_id, giver), answered)

    # --- as receiver ---

    def taken(self, entry: ObjectEntry, giver: str) -> None:
        """A borrowed object's ref has arrived from a process that does not own it."""
        if giver and giver != self._hub.process_id:
            if entry.givers is None:
                entry.givers = {}
            entry.givers[giver] = entry.givers.get(giver, 0) + 1

    def on_ask_taken(self, channel: Channel, call: Call) -> None:
        """An owner asks what has arrived of a giver that it has lost: answer when nothing more can."""
        ask: AskTaken = decoder_of(AskTaken).decode(call.body)
        giver = ask.giver.process_id

        def answer() -> None:
            entry = self._hub.table.find(ask.object_id)
            givers = None if entry is None else entry.givers
            channel.reply(call.call_id, encode(givers.get(giver, 0) if givers else 0))

        def connected(result: Channel | TransportError) -> None:
            if isinstance(result, TransportError) or result.error is not None:
                answer()
            else:
                self._awaiting.setdefault(giver, []).append(answer)

        self._hub.links.connected(ask.giver, connected)
