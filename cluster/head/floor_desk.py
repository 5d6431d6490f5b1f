"""The head's dealings with `request_resources`: what there is to be room for, whatever else runs."""

from typing import TYPE_CHECKING

from ...actors.contract import RequestResources, decoder_of
from ...actors.serialization import serialize_error
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..autoscaler.message import Want
from ..scheduling.labels import parse_selector
from ..scheduling.resources import ResourceSet
from .head_state import FLOOR, Rows, decode_rows

if TYPE_CHECKING:
    from .head import Head

_KEY = "requested"


class FloorDesk:
    """Part of the head actor; on its loop.

    Attributes:
        floor: as last asked for; the newest request counts, whoever made it.
    """

    def __init__(self, head: "Head") -> None:
        self._head = head
        self.floor: tuple[Want, ...] = ()
        head.methods["RequestResources"] = self._on_request

    def restore(self, rows: Rows) -> None:
        """Keep the room that a head before this one was asked for."""
        self.floor = decode_rows(rows, FLOOR, tuple[Want, ...]).get(_KEY, ())

    def _on_request(self, channel: Channel, call: Call) -> None:
        request: RequestResources = decoder_of(RequestResources).decode(call.body)
        counts: dict[Want, int] = {}
        try:
            for bundle, selector in zip(request.bundles, request.selectors, strict=True):
                one = Want(ResourceSet.of_units(bundle), 1, parse_selector(selector))
                counts[one] = counts.get(one, 0) + 1
        except (ValueError, TypeError) as error:
            channel.reply(call.call_id, serialize_error(error))
            return
        self.floor = tuple(Want(one.resources, count, one.selector) for one, count in counts.items())
        if self.floor:
            self._head.state.put(FLOOR, _KEY, self.floor)
        else:
            self._head.state.delete(FLOOR, _KEY)
        self._head.state.after(lambda: channel.reply(call.call_id, b""))
