"""A channel: the one connection of calls and replies between two processes, whoever dialled it.

How a call travels: `Channel.call` puts a message on a deque and wakes the loop (once for all messages of a burst);
`_flush` hands everything queued to the carrier (wire.py between processes, twin.py within one), which sends it as one
frame; the peer's carrier hands the decoded messages to `deliver`, which calls the handler. The reply comes back the
same way and ends in the callback that `call` was given.
"""

import asyncio
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from .address import ProcessAddress
from .error import (
    BackpressureError,
    DeadlineExceededError,
    MessageTooLargeError,
    PeerClosedError,
    PeerLostError,
    RemoteCallError,
    TransportError,
)
from .limits import DEFAULT_LIMITS, TransportLimits
from .protocol import Call, Cancel, ChannelMessage, Credit, Goodbye, Item, Reply

_log = logging.getLogger(__name__)

OnReply = Callable[[Reply | TransportError], None]
OnItem = Callable[[Item], None]
EndOfChannel = PeerLostError | PeerClosedError

_OVERHEAD = 64  # bytes counted for a message besides its body, so that empty ones are not free


class ChannelHandler(Protocol):
    """What a process does with what arrives. All methods run on the loop thread and must not block.

    An exception that escapes is logged; for `on_call` the call is also answered, as failed with an empty body.
    """

    def on_connected(self, channel: "Channel") -> None:
        """A new channel stands; comes before everything else about it."""
        ...

    def on_call(self, channel: "Channel", call: Call) -> None:
        """The peer calls. Answer with `channel.reply(call.call_id, ...)`, now or later, unless `call_id` is 0."""
        ...

    def on_cancel(self, channel: "Channel", cancel: Cancel) -> None:
        """The peer no longer wants the result of a call."""
        ...

    def on_credit(self, channel: "Channel", credit: Credit) -> None:
        """The peer allows more items of a streaming call."""
        ...

    def on_lost(self, channel: "Channel", error: EndOfChannel) -> None:
        """The channel has ended, for whatever reason (`PeerClosedError.by_us`: we closed it). Comes once, last."""
        ...


class _Nobody:
    """The handler of a channel that has ended."""

    def on_connected(self, channel: "Channel") -> None: ...

    def on_call(self, channel: "Channel", call: Call) -> None: ...

    def on_cancel(self, channel: "Channel", cancel: Cancel) -> None: ...

    def on_credit(self, channel: "Channel", credit: Credit) -> None: ...

    def on_lost(self, channel: "Channel", error: EndOfChannel) -> None: ...


_NOBODY = _Nobody()


class Carrier(Protocol):
    """What takes a channel's messages to its peer. Used on the loop thread, except for `held_bytes`."""

    @property
    def held_bytes(self) -> int:
        """Bytes of messages that the peer has not acknowledged. May be read from any thread."""
        ...

    @property
    def connected(self) -> bool:
        """Whether what is transmitted now goes out now, as far as is known."""
        ...

    def transmit(self, messages: Sequence[ChannelMessage], size: int) -> None:
        """Take messages on their way; `size` is about what their bodies come to.

        Never blocks, keeps order; calls `Channel.relieved` when `held_bytes` has fallen.
        """
        ...

    def abandon(self, error: EndOfChannel) -> None:
        """Drop the connection at once and end the channel with this error."""
        ...

    async def close(self) -> None:
        """Wait (for a bounded time) until the peer has what was transmitted, then drop the connection."""
        ...


class Channel:
    """Calls to and from one other process.

    Every method may be called from any thread unless it says otherwise; callbacks run on the loop thread. Messages of
    one thread arrive in the order in which it sent them.

    **A call has exactly one end**: its `on_reply` gets the `Reply`, or the error that ended the channel. Sending on a
    channel that has ended is therefore no error: a call reports it to `on_reply`, anything else goes nowhere.

    **Sending is bounded.** Once `queued_bytes` has reached `limits.send_buffer`, a sender on another thread blocks
    until the peer has taken some, or the channel has ended. On the loop thread nothing may block: `call`, `notify` and
    `item` raise `BackpressureError` there (`await drain()` before sending much), while `reply`, `credit` and `cancel`
    are always taken, so that answering never waits for being answered. Arrival is acknowledged by the peer's loop and
    not by its handlers, so two processes that both wait in sends do get on. A peer that lets more than
    `limits.send_buffer_hard` pile up is declared lost.

    Attributes:
        peer: the other process's address.
        peer_info: what the other process says of itself.
        bulk_key: signs requests for bulk streams between these two processes.
        error: why the channel has ended; None while it has not.
    """

    def __init__(
        self,
        peer: ProcessAddress,
        peer_info: dict[str, str],
        handler: ChannelHandler,
        carrier: Carrier,
        *,
        limits: TransportLimits = DEFAULT_LIMITS,
        bulk_key: bytes = b"",
        on_end: "Callable[[Channel], None] | None" = None,
    ) -> None:
        self.peer = peer
        self.peer_info = peer_info
        self.bulk_key = bulk_key
        self.error: EndOfChannel | None = None
        self._carrier = carrier
        self._handler = handler
        self._on_end = on_end  # tells the owner before the handler
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._call_ids = itertools.count(1)
        self._pending: dict[int, tuple[OnReply, OnItem | None]] = {}
        self._queue: deque[ChannelMessage] = deque()
        self._queue_bytes = (
            0  # of _queue; a hint: concurrent senders may lose an addition until the next flush resets it
        )
        self._flushing = False  # a flush is scheduled
        self._room = threading.Condition()
        self._blocked = 0  # threads in _room
        self._drains: list[asyncio.Future[None]] = []

    def __repr__(self) -> str:
        state = "open" if self.error is None else f"ended: {self.error}"
        return f"<Channel to {self.peer.process_id} ({state})>"

    # Calling

    def call(self, actor: str, method: str, body: bytes, on_reply: OnReply, on_item: OnItem | None = None) -> int:
        """Call a method of an actor in the peer; returns the call's id, for `credit` and `cancel`.

        Raises:
            BackpressureError: on the loop thread, when the send buffer is full. MessageTooLargeError.
        """
        self._admit(body)
        call_id = next(self._call_ids)
        self._pending[call_id] = (on_reply, on_item)  # before the message can leave
        self._push(Call(call_id, actor, method, body), len(body))
        return call_id

    async def request(self, actor: str, method: str, body: bytes, timeout: float) -> bytes:  # noqa: ASYNC109
        """Call and wait for the result. On the loop only.

        Raises:
            RemoteCallError: the call failed there. DeadlineExceededError: no reply within `timeout` seconds; a `Cancel`
            has been sent. PeerLostError, PeerClosedError: the channel ended first.
        """
        replied: asyncio.Future[Reply | TransportError] = self._loop.create_future()

        def on_reply(reply: Reply | TransportError) -> None:
            if not replied.done():
                replied.set_result(reply)

        call_id = 0
        try:
            async with asyncio.timeout(timeout):
                if self.queued_bytes >= self._limits.send_buffer:
                    await self.drain()
                call_id = self.call(actor, method, body, on_reply)
                reply = await replied
        except TimeoutError:
            raise DeadlineExceededError(
                f"{actor}.{method} in process {self.peer.process_id} has not answered within {timeout:g} s."
            ) from None
        finally:
            if self._pending.pop(call_id, None) is not None:  # timed out or cancelled
                self.cancel(call_id)
        if isinstance(reply, TransportError):
            raise reply
        if reply.failed:
            raise RemoteCallError(reply.body, f"{actor}.{method} in process {self.peer.process_id}")
        return reply.body

    def notify(self, actor: str, method: str, body: bytes) -> None:
        """Call without asking for a reply."""
        self._admit(body)
        self._push(Call(0, actor, method, body), len(body))

    def credit(self, call_id: int, count: int) -> None:
        """Allow `count` more items of a streaming call."""
        self._push(Credit(call_id, count), 0)

    def cancel(self, call_id: int, body: bytes = b"") -> None:
        """Say that the result of a call is no longer wanted. `on_reply` is still called when the call ends."""
        self._check_size(body)
        self._push(Cancel(call_id, body), len(body))

    # Answering

    def reply(self, call_id: int, body: bytes, failed: bool = False) -> None:
        """End a call of the peer's with its result, or (`failed`) with an encoded error."""
        self._check_size(body)
        if threading.get_ident() != self._thread:
            self._block_while_full()
        self._push(Reply(call_id, failed, body), len(body))

    def item(self, call_id: int, index: int, body: bytes) -> None:
        """Send one item of a streaming call of the peer's."""
        self._admit(body)
        self._push(Item(call_id, index, body), len(body))

    # The bound on what is queued

    @property
    def queued_bytes(self) -> int:
        """What was sent and the peer has not acknowledged."""
        return self._queue_bytes + self._carrier.held_bytes

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known; else it is being dialled again, or the channel is over."""
        return self.error is None and self._carrier.connected

    async def drain(self) -> None:
        """Wait until there is room in the send buffer, or the channel has ended. On the loop only."""
        while self.error is None and self.queued_bytes >= self._limits.send_buffer:
            waiter = self._loop.create_future()
            self._drains.append(waiter)
            await waiter

    async def close(self, reason: str = "") -> None:
        """Send what is queued and a goodbye, and end the channel. Idempotent. On the loop only."""
        if self.error is not None:
            return
        self._push(Goodbye(reason), len(reason))
        self._flush()
        self.end(
            PeerClosedError(f"This process closed the channel to {self.peer.process_id}. {reason}".strip(), by_us=True)
        )
        await self._carrier.close()

    # For carriers

    def deliver(self, messages: Sequence[ChannelMessage]) -> None:
        """Messages have arrived, in order. Loop thread; never from within a send."""
        pending = self._pending
        for message in messages:
            try:
                if type(message) is Reply:
                    waiting = pending.pop(message.call_id, None)
                    if waiting is not None:
                        waiting[0](message)
                elif type(message) is Call:
                    self._handler.on_call(self, message)
                elif type(message) is Goodbye:
                    self._on_goodbye(message)
                    return
                else:
                    self._deliver_rare(message)
            except Exception:  # noqa: BLE001  (one failing callback must not harm the others)
                self._on_handler_error(message)

    def relieved(self) -> None:
        """The peer has acknowledged something. Loop thread."""
        if (self._drains or self._blocked) and (self.queued_bytes < self._limits.send_buffer or self.error is not None):
            self._wake()

    def end(self, error: EndOfChannel) -> None:
        """The channel is over: fail what is pending and tell the handler. Loop thread. Idempotent."""
        if self.error is not None:
            return
        self.error = error
        self._fail_pending(error)
        self._wake()
        if self._on_end is not None:
            self._on_end(self)
        handler, self._handler = self._handler, _NOBODY  # what came together with the cause of the end is not wanted
        try:
            handler.on_lost(self, error)
        except Exception:  # noqa: BLE001  (one failing callback must not harm the others)
            _log.exception("The handler failed on the end of %r", self)

    # Inner workings

    def _deliver_rare(self, message: ChannelMessage) -> None:
        if type(message) is Item:
            waiting = self._pending.get(message.call_id)
            if waiting is not None and waiting[1] is not None:
                waiting[1](message)
        elif type(message) is Credit:
            self._handler.on_credit(self, message)
        elif type(message) is Cancel:
            self._handler.on_cancel(self, message)

    def _admit(self, body: bytes) -> None:
        self._check_size(body)
        if self._queue_bytes + self._carrier.held_bytes >= self._limits.send_buffer and self.error is None:
            if threading.get_ident() == self._thread:
                raise BackpressureError(
                    f"{self.queued_bytes} bytes wait for process {self.peer.process_id} to take them "
                    f"(the limit is {self._limits.send_buffer}): await drain() before sending more."
                )
            self._block_while_full()

    def _check_size(self, body: bytes) -> None:
        if len(body) > self._limits.message:
            raise MessageTooLargeError(
                f"A message of {len(body)} bytes is over the limit of {self._limits.message}; "
                "send large data as a bulk stream."
            )

    def _push(self, message: ChannelMessage, size: int) -> None:
        try:
            self._queue.append(message)
            self._queue_bytes += size + _OVERHEAD
            # A flush clears the flag before it looks at the queue, so a message behind a set flag is always seen.
            if not self._flushing:
                self._flushing = True
                if threading.get_ident() == self._thread:
                    self._loop.call_soon(self._flush)
                else:
                    self._wake_loop()
        except BaseException:  # Ctrl-C struck somewhere in between: what is queued leaves nevertheless
            self._wake_loop()
            raise

    def _wake_loop(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._flush)
        except RuntimeError:
            # The loop is closed, so the endpoint was not: this thread is the last to know.
            self.error = self.error or PeerClosedError("The endpoint's event loop is closed.", by_us=True)
            self._fail_pending(self.error)

    def _flush(self) -> None:
        self._flushing = False
        queue = self._queue
        take = queue.popleft
        messages = [take() for _ in range(len(queue))]
        size, self._queue_bytes = self._queue_bytes, 0
        if self.error is not None:
            self._fail_pending(self.error)  # a call that raced with the end of the channel
        elif messages:
            self._carrier.transmit(messages, size)
            if self._carrier.held_bytes > self._limits.send_buffer_hard:
                self._give_up_on_slow_peer()

    def _give_up_on_slow_peer(self) -> None:
        error = PeerLostError(
            f"Process {self.peer.process_id} does not take what it is sent: {self._carrier.held_bytes} bytes wait, "
            f"more than the {self._limits.send_buffer_hard} that TransportLimits.send_buffer_hard allows."
        )
        self._carrier.abandon(error)

    def _fail_pending(self, error: EndOfChannel) -> None:
        while self._pending:
            _, (on_reply, _) = self._pending.popitem()
            try:
                on_reply(error)
            except Exception:  # noqa: BLE001  (one failing callback must not harm the others)
                _log.exception("A callback failed on the end of %r", self)

    def _on_goodbye(self, message: Goodbye) -> None:
        reason = f": {message.reason}" if message.reason else "."
        self._carrier.abandon(PeerClosedError(f"Process {self.peer.process_id} closed the channel{reason}"))

    def _on_handler_error(self, message: ChannelMessage) -> None:
        _log.exception("The handler failed on a %s of %r", type(message).__name__, self)
        if type(message) is Call and message.call_id:
            self.reply(message.call_id, b"", failed=True)

    def _block_while_full(self) -> None:
        def writable() -> bool:
            return self.error is not None or self.queued_bytes < self._limits.send_buffer

        if writable():
            return
        with self._room:
            self._blocked += 1
            try:
                self._room.wait_for(writable)
            finally:
                self._blocked -= 1

    def _wake(self) -> None:
        for waiter in self._drains:
            if not waiter.done():
                waiter.set_result(None)
        self._drains.clear()
        if self._blocked:
            with self._room:
                self._room.notify_all()
