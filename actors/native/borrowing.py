"""Who holds which object: the protocol between an object's owner and the processes that borrow it.

An owner frees an object when it holds no ref to it itself and counts no borrower. So whoever lets go of a hold that
keeps an object alive for somebody else must first know that the owner counts that somebody. The cases:

* A task's arguments: the caller holds them until it has the task's reply. What the worker still holds then is named in
  the reply (objects of the caller's) or has been registered with, and acknowledged by, its owner before the reply.
* A result: who returns a ref makes sure that its owner counts the caller, and lets go only after that. The
  caller takes the count over as its own (`adopt`); should the giver die, see hand_over.py.
* A value that was read: its refs are registered while the ref to the value, which keeps them alive, is held.

Counts are per borrowing process and only ever added up, so that the order in which a release and a registration from
two different processes arrive does not matter: a count may be below zero for a moment, and that keeps the object alive.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec

from ...exceptions import ObjectFreedError, OwnerDiedError
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call, Reply
from ..contract import (
    CORE,
    AddBorrower,
    ExportedRef,
    Location,
    Outcome,
    ReleaseBorrow,
    Value,
    WaitObject,
    decoder_of,
    encode,
)
from ..object_ref import ObjectRef
from ..serialization import serialize_error
from .entry import FAILED, INLINE, STORED, ObjectEntry
from .hand_over import HandOvers
from .running import Job

if TYPE_CHECKING:
    from .hub import Hub

Import = tuple[list[ObjectEntry], Any]


class Borrowing:
    """A process's part in the protocol, as owner and as borrower.

    On the wire thread, unless a method says otherwise.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._table = hub.table
        self._lent: dict[str, dict[ObjectEntry, None]] = {}
        self.hand_overs = HandOvers(hub, self.lend)
        hub.table.on_forgotten = self._forgotten
        hub.table.on_stray = self._register_stray

    # --- as owner ---

    def lend(self, entry: ObjectEntry, borrower: ProcessAddress, count: int) -> None:
        """Count a borrower of an owned object (or, with a negative count, count it less)."""
        borrowers = entry.borrowers
        if borrowers is None:
            borrowers = entry.borrowers = {}
        held = borrowers.get(borrower.process_id, 0) + count
        if held:
            borrowers[borrower.process_id] = held
            self._lent.setdefault(borrower.process_id, {})[entry] = None
            return
        borrowers.pop(borrower.process_id, None)
        lent = self._lent.get(borrower.process_id)
        if lent is not None:
            lent.pop(entry, None)
            if not lent:
                del self._lent[borrower.process_id]
        self._table.free_if_unused(entry)

    def on_wait_object(self, channel: Channel, call: Call) -> None:
        """A borrower asks for an object's value: answer when it is there."""
        request: WaitObject = decoder_of(WaitObject).decode(call.body)
        entry = self._table.find(request.object_id)
        if entry is None:
            error = ObjectFreedError(
                request.object_id.hex(), reason="its owner has freed it, as nobody held it any more"
            )
            channel.reply(call.call_id, encode(Value("e", serialize_error(error))))
            return
        if request.avoid is not None:
            self._hub.recovery.recover(entry, request.avoid)

        def ready(entry: ObjectEntry) -> None:
            channel.reply(call.call_id, encode(entry.value()))

        if not entry.when_ready(ready):
            ready(entry)

    def on_add_borrower(self, channel: Channel, call: Call) -> None:
        """A process holds an object of this one; said by itself, or by who gave it the ref."""
        request: AddBorrower = decoder_of(AddBorrower).decode(call.body)
        entry = self._table.find(request.object_id)
        if entry is not None:
            self.lend(entry, request.borrower, request.count)
            if request.borrower.process_id != channel.peer.process_id:
                self.hand_overs.given(request.object_id, channel.peer, request.borrower, request.count)
                self._watch(request.borrower)
        channel.reply(call.call_id, b"")

    def on_release_borrow(self, channel: Channel, call: Call) -> None:
        """A borrower has let go."""
        release: ReleaseBorrow = decoder_of(ReleaseBorrow).decode(call.body)
        entry = self._table.find(release.object_id)
        if entry is not None:
            self.hand_overs.released(release.object_id, channel.peer.process_id, release.taken)
            self.lend(entry, channel.peer, -release.count)

    def _watch(self, borrower: ProcessAddress) -> None:
        """Hold a channel to a borrower that somebody else registered, so as to learn of its death."""

        def connected(result: Channel | TransportError) -> None:
            if isinstance(result, TransportError):
                self._borrower_lost(borrower.process_id)
                self.hand_overs.receiver_lost(borrower.process_id)

        self._hub.links.connected(borrower, connected)

    def _borrower_lost(self, process_id: str) -> None:
        for entry in self._lent.pop(process_id, ()):
            if entry.borrowers is not None and entry.borrowers.pop(process_id, 0):
                self._table.free_if_unused(entry)

    def process_lost(self, process_id: str) -> None:
        """A process is gone: it borrows nothing any more, and counts this one as a borrower of nothing."""
        self._borrower_lost(process_id)
        self._table.owner_lost(process_id)
        self.hand_overs.process_lost(process_id)

    def lent(self) -> int:
        """How many borrowers are counted, over all objects."""
        return sum(len(entries) for entries in self._lent.values())

    # --- as borrower ---

    def fetch(self, entry: ObjectEntry, avoid: Location | None = None) -> None:
        """Ask the owner of a borrowed object for its value, unless that is under way."""
        if entry.owner is None or entry.fetching or (entry.state and avoid is None):
            return
        entry.fetching = True

        def answered(reply: Reply | TransportError) -> None:
            entry.fetching = False
            if isinstance(reply, TransportError):
                entry.complete(FAILED, serialize_error(OwnerDiedError(entry.object_id.hex())))
                return
            value: Value = decoder_of(Value).decode(reply.body)
            entry.complete(_STATES[value.kind], value.data, value.location)

        self._hub.links.ask(entry.owner, CORE, WaitObject(entry.object_id, avoid), answered)

    def register_imports(self, imports: Import) -> None:
        """Refs came out of a value that was read: register them, and hold the value's ref until their owners know."""
        entries, holding = imports
        for entry in self.still_held(entries):
            self._register(entry, self._hub.address, holding)

    def _register_stray(self, entry: ObjectEntry) -> None:
        self.register_imports(([entry], None))

    def still_held(self, entries: Iterable[ObjectEntry]) -> list[ObjectEntry]:
        """Of the entries that a value brought: those still held that their owners do not know of.

        They count as known.
        """
        held: list[ObjectEntry] = []
        for entry in entries:
            if entry.owner is not None and not entry.registered and self._table.is_held(entry):
                entry.registered = 1
                held.append(entry)
        return held

    def adopt(self, contained: Iterable[ExportedRef]) -> list[ObjectRef[Any]]:
        """The refs of a result; whoever sent it has told their owners that this process borrows them."""
        refs: list[ObjectRef[Any]] = []
        for exported in contained:
            ref = self._table.adopted(exported.object_id, exported.owner)
            if ref._entry.owner is not None:
                ref._entry.registered += 1
                self.hand_overs.taken(ref._entry, exported.giver)
            refs.append(ref)
        return refs

    def complete(self, entry: ObjectEntry, value: Value) -> None:
        """Make an owned entry ready with what its task returned."""
        if value.contained:
            entry.contained = self.adopt(value.contained)
        if value.kind == "s":
            entry.complete(STORED, b"", value.location)
            self._table.track(entry)
        else:
            entry.complete(_STATES[value.kind], value.data)
        if entry.count == 0:
            self._table.free_if_unused(entry)

    def discard(self, object_id: bytes, value: Value) -> None:
        """A result that nobody wants (it came twice, or too late): let go of what was lent with it."""
        self.adopt(value.contained)
        if value.location is not None:
            self._hub.store.free(object_id, value.location)

    # --- handing refs on ---

    def answer(self, answer: tuple[Job, Outcome, list[ObjectEntry], list[Any]]) -> None:
        """Send an outcome when the owners of all refs that stay here or leave in it know who holds them.

        Until it is out, the refs in it are held here: the caller, who may own them, could free them before it arrives.
        """
        job, outcome, imports, lent = answer
        channel = job.channel
        caller = channel.peer.process_id
        waiting = 1

        def known() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                channel.reply(job.call_id, encode(outcome))
                self.came_home((channel, lent))
                lent.clear()

        borrows: list[bytes] = []
        for entry in self.still_held(imports):
            if entry.owner is not None and entry.owner.process_id == caller:
                borrows.append(entry.object_id)
            else:
                waiting += 1
                self._register(entry, self._hub.address, None, known)
        if borrows:
            outcome = msgspec.structs.replace(outcome, borrows=tuple(borrows))
        waiting += self._lend_to(channel, lent, known)
        known()

    def lend_item(self, order: "tuple[Channel, list[ObjectRef[Any]], Future[None]]") -> None:
        """Refs are to leave in an item of a generator: the future is done when it may be sent."""
        channel, refs, done = order
        waiting = 1

        def known() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                done.set_result(None)

        waiting += self._lend_to(channel, refs, known)
        known()

    def came_home(self, sent: "tuple[Channel, list[ObjectRef[Any]]]") -> None:
        """Refs have been sent. Where the process sent them to itself, what kept its own objects alive on the way ends.

        Others take over the count of what was lent to them; at home there is nobody to count. The release travels
        behind the refs, so that it arrives when they have.
        """
        channel, refs = sent
        if channel.peer.process_id == self._hub.process_id and channel.error is None:
            for ref in refs:
                if ref._entry.owner is None and not ref._entry.freed:
                    channel.notify(CORE, "ReleaseBorrow", encode(ReleaseBorrow(ref.binary(), 1)))

    def _lend_to(self, channel: Channel, refs: list[ObjectRef[Any]], known: Callable[[], None]) -> int:
        """Have owners count the process behind a channel; returns how many will call `known` later."""
        if channel.error is not None:
            return 0  # it is gone, and its counts with it: none must be added now
        asked = 0
        for ref in refs:
            entry: ObjectEntry = ref._entry
            if entry.owner is None:
                if not entry.freed:
                    self.lend(entry, channel.peer, 1)
            elif entry.owner.process_id != channel.peer.process_id:
                asked += 1
                self._register(entry, channel.peer, ref, known)
        return asked

    def _register(
        self, entry: ObjectEntry, borrower: ProcessAddress, holding: Any, then: Callable[[], None] | None = None
    ) -> None:
        """Tell a borrowed object's owner of a borrower; keep `holding` alive until it knows, then call `then`."""
        if entry.owner is None:
            raise ValueError("Only borrowed objects are registered with their owner.")
        held = [holding]

        def answered(_: Reply | TransportError) -> None:
            held.clear()
            if then is not None:
                then()

        self._hub.links.ask(entry.owner, CORE, AddBorrower(entry.object_id, borrower, 1), answered)

    def _forgotten(self, entry: ObjectEntry) -> None:
        """The last ref of this process to a borrowed object is gone."""
        registered, entry.registered = entry.registered, 0
        givers, entry.givers = entry.givers, None
        if registered and entry.owner is not None:
            taken = tuple(givers.items()) if givers else ()
            self._hub.links.notify(entry.owner, CORE, ReleaseBorrow(entry.object_id, registered, taken))


_STATES = {"i": INLINE, "s": STORED, "e": FAILED}
