"""`put(value, _owner=actor)`: an object made here that another process owns, so that it outlives its maker."""

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from ...transport.channel import Channel
from ...transport.protocol import Call
from .. import ids
from ..contract import CORE, AdoptObject, Value, decoder_of
from ..object_ref import ObjectRef
from ..serialization import serialize
from .entry import ObjectEntry
from .value_codec import INLINE_LIMIT, to_inline

if TYPE_CHECKING:
    from .hub import Hub


def entrust(hub: "Hub", value: Any, channel: Channel) -> ObjectRef[Any]:
    """Put a value, and make the process behind a channel its owner; this process borrows it. Not on the wire thread.

    Raises:
        TransportError: that process is gone.
        ObjectStoreFullError: there is no room.
    """
    serialized = serialize(value)
    object_id = ids.object_id(hub.ids.task_id(), ids.PUT_INDEX)
    if serialized.refs:
        lent: Future[None] = Future()
        hub.wire.post(hub.borrowing.lend_item, (channel, serialized.refs, lent))
        lent.result()
    contained = tuple(hub.table.handed_on(ref) for ref in serialized.refs)
    if serialized.size <= INLINE_LIMIT:
        packed = Value("i", to_inline(serialized), None, contained)
    else:
        parts = [serialized.data, *serialized.buffers]
        packed = Value("s", b"", hub.store.write(object_id, channel.peer, parts), contained)
    hub.ask(channel.peer, CORE, AdoptObject(object_id, packed))
    ref = hub.table.adopted(object_id, channel.peer)
    ref._entry.registered += 1  # the owner has counted this process
    return ref


def adopt(hub: "Hub", channel: Channel, call: Call) -> None:
    """Own an object that another process has made, and that it borrows from now on. On the wire thread."""
    given: AdoptObject = decoder_of(AdoptObject).decode(call.body)
    entry = ObjectEntry(hub.table, given.object_id)
    entry.count = 0  # nobody here has a ref
    hub.table.track(entry)
    hub.borrowing.lend(entry, channel.peer, 1)
    hub.borrowing.complete(entry, given.value)
    channel.reply(call.call_id, b"")
