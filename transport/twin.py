"""Two channels that are each other's peer within one process: the semantics of a socket without one.

For system actors that share a process, and for tests. Messages are immutable, so they are handed over as they are.
They arrive in a later turn of the receiving side's loop, never from within a send, and in order.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

from .address import ProcessAddress
from .channel import Channel, ChannelHandler, EndOfChannel
from .error import PeerClosedError, PeerLostError
from .limits import DEFAULT_LIMITS, TransportLimits
from .protocol import ChannelMessage


def connect_twins(
    left: ProcessAddress,
    left_handler: ChannelHandler,
    right: ProcessAddress,
    right_handler: ChannelHandler,
    *,
    left_info: dict[str, str] | None = None,
    right_info: dict[str, str] | None = None,
    limits: TransportLimits = DEFAULT_LIMITS,
) -> tuple[Channel, Channel]:
    """Connect two actors of this process, on the running loop.

    Each handler's `on_connected` comes before this returns. Returns the channel that `left_handler` uses (its peer is
    `right`) and the one that `right_handler` uses.
    """
    to_right, to_left = _TwinCarrier(), _TwinCarrier()
    left_channel = Channel(right, right_info or {}, left_handler, to_right, limits=limits)
    right_channel = Channel(left, left_info or {}, right_handler, to_left, limits=limits)
    to_right.join(left_channel, right_channel)
    to_left.join(right_channel, left_channel)
    left_handler.on_connected(left_channel)
    right_handler.on_connected(right_channel)
    return left_channel, right_channel


class _TwinCarrier:
    """Carries what one twin sends to the other. What has not been delivered counts as held."""

    _from: Channel
    _to: Channel

    def __init__(self) -> None:
        self.held_bytes = 0
        self.connected = True
        self._loop = asyncio.get_running_loop()
        self._transit: deque[tuple[Sequence[ChannelMessage], int]] = deque()
        self._emptied: asyncio.Future[None] | None = None

    def join(self, sender: Channel, receiver: Channel) -> None:
        """Say between whom this carries."""
        self._from, self._to = sender, receiver

    def transmit(self, messages: Sequence[ChannelMessage], size: int) -> None:
        """Deliver in the loop's next turn."""
        self.held_bytes += size
        self._transit.append((messages, size))
        self._loop.call_soon(self._arrive)

    def abandon(self, error: EndOfChannel) -> None:
        """End this side; the other side learns of it unless it knows."""
        self._from.end(error)
        if not isinstance(error, PeerClosedError):
            lost = PeerLostError(f"Process {self._to.peer.process_id} has given up the channel. {error}")
            self._loop.call_soon(self._to.end, lost)

    async def close(self) -> None:
        """Wait until everything has been delivered, which takes one turn of the loop."""
        if self._transit:
            self._emptied = self._loop.create_future()
            await self._emptied

    def _arrive(self) -> None:
        messages, size = self._transit.popleft()
        self.held_bytes -= size
        if self._to.error is None:
            self._to.deliver(messages)
        self._from.relieved()
        if self._emptied is not None and not self._transit and not self._emptied.done():
            self._emptied.set_result(None)
