"""Carries a channel over websockets: frames out and in, acknowledgements, heartbeats, and coming back after a cut."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence

from .channel import Channel, EndOfChannel
from .error import ConnectError, PeerClosedError, PeerLostError, ProtocolError
from .limits import TransportLimits
from .link import Link
from .protocol import Call, Cancel, ChannelMessage, Goodbye, Item, Reply
from .resume import Resume

_log = logging.getLogger(__name__)

Redial = Callable[[int], Awaitable[tuple[Link, int]]]
"""Dial the same channel again, given how many messages have arrived; returns a connection and what the peer has."""


class Wire:
    """A carrier whose connection may break and come back. Lives on the loop thread.

    The dialler dials again (`redial`); the other side waits, and looks now and then whether the peer is `gone`.

    Attributes:
        channel: set by whoever makes the pair, before the first `attach`.
    """

    channel: Channel

    def __init__(
        self,
        peer_id: str,
        limits: TransportLimits,
        *,
        redial: Redial | None,
        gone: Callable[[], bool],
    ) -> None:
        self._peer_id = peer_id
        self._limits = limits
        self._redial = redial
        self._gone = gone
        # A peer with the same limits must hear of what arrived well before its buffer is full.
        self._ack_bytes = min(limits.ack_bytes, limits.send_buffer // 4)
        self._loop = asyncio.get_running_loop()
        self._resume = Resume(limits.grace)
        self._link: Link | None = None
        self._over = False  # the channel has ended; the connection may live a little longer
        self._last_tick = self._loop.time()
        self._ack_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._recovery: asyncio.Task[None] | None = None
        self._settled: asyncio.Future[None] | None = None  # `close` waits for it
        self._linger: asyncio.TimerHandle | None = None

    # What the channel uses

    @property
    def held_bytes(self) -> int:
        """Bytes that the peer has not acknowledged."""
        return self._resume.held_bytes

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._link is not None

    def transmit(self, messages: Sequence[ChannelMessage], size: int) -> None:
        """Put messages into frames and send what the connection takes."""
        if size <= self._limits.frame:
            self._resume.seal(messages)
        else:
            for batch in _split(messages, self._limits.frame):
                self._resume.seal(batch)
        self._pump()

    def abandon(self, error: EndOfChannel) -> None:
        """End the channel. The connection is cut, unless the peer said goodbye: then it waits to hear that we heard."""
        if self._over:
            return
        self._over = True
        self._stop_recovery()
        link = self._link
        if link is not None and isinstance(error, PeerClosedError):
            link.write(self._resume.acknowledgement())
            self._linger = self._loop.call_later(self._limits.close, link.cut)
        elif link is not None:
            link.cut()
        self.channel.end(error)

    async def close(self) -> None:
        """Wait until the peer has everything, or takes nothing for `limits.close` seconds; then cut the connection."""
        self._over = True
        self._stop_recovery()
        link = self._link
        if link is not None and not self._resume.settled:
            self._settled = self._loop.create_future()
            held = -1
            while not self._settled.done() and held != self.held_bytes:
                held = self.held_bytes
                await asyncio.wait([self._settled], timeout=self._limits.close)
        if link is not None:
            link.cut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._limits.close)

    # Connections

    def accept(self) -> int:
        """The peer has dialled again: drop the old connection; returns how many messages have arrived."""
        if self._link is not None:
            self._link.cut()
            self._link = None
        return self._resume.received

    def attach(self, link: Link, peer_received: int) -> None:
        """Use this connection from now on; send again what the peer does not have.

        Raises:
            ProtocolError: the peer's memory does not fit ours; the channel must end.
        """
        self._resume.connected(peer_received)
        self._stop_recovery()
        self._link = link
        link.quiet_since = self._loop.time()
        self._pump()
        self.channel.relieved()  # the peer may have had more than its acknowledgements said

    async def run(self, link: Link) -> None:
        """Receive from an attached connection until it ends, then start to recover."""
        try:
            await link.run(self._on_frame, self._pump)
        except Exception as error:  # noqa: BLE001  (whatever it is, the channel must not stay half alive)
            self._on_defect(error)
            return
        if self._link is link:
            self._link = None
            self._on_cut()

    def start(self, link: Link) -> None:
        """Like `run`, in a task of the wire's own."""
        self._spawn(self.run(link))

    def tick(self, now: float) -> None:
        """Heartbeat: say something if nothing was said since the last tick; cut a connection that has gone silent."""
        link = self._link
        late = now - self._last_tick > 2 * self._limits.heartbeat  # this process was suspended, so it cannot have heard
        self._last_tick = now
        if link is None:
            return
        if link.heard or late:
            link.heard = False
            link.quiet_since = now
        elif now - link.quiet_since > (self._limits.silence_local if link.local else self._limits.silence):
            _log.info("Nothing heard of process %s for %.1f s; dialling again", self._peer_id, now - link.quiet_since)
            link.cut()
            return
        if not link.said and not link.congested:
            link.write(self._resume.acknowledgement())
        link.said = False

    # Inner workings

    def _pump(self) -> None:
        link = self._link
        if link is None:
            return
        next_frame = self._resume.next_frame
        while not link.congested and (frame := next_frame()) is not None:
            link.write(frame)

    def _on_frame(self, data: bytes) -> None:
        resume = self._resume
        try:
            messages = resume.open(data)
        except ProtocolError as error:
            self._on_protocol_error(error)
            return
        if self._over:
            self._on_frame_after_end(messages)
            return
        self.channel.deliver(messages)
        self.channel.relieved()
        if resume.unreported >= self._ack_bytes:
            self._acknowledge()
        elif resume.unreported and self._ack_timer is None:
            self._ack_timer = self._loop.call_later(self._limits.ack_delay, self._on_ack_timer)

    def _on_frame_after_end(self, messages: Sequence[ChannelMessage]) -> None:
        if messages:
            self._acknowledge()  # so that a peer that closes at the same time need not wait
        if self._settled is not None and not self._settled.done() and self._resume.settled:
            self._settled.set_result(None)

    def _on_ack_timer(self) -> None:
        self._ack_timer = None
        if self._resume.unreported:
            self._acknowledge()

    def _acknowledge(self) -> None:
        if self._link is not None:
            self._link.write(self._resume.acknowledgement())

    def _on_protocol_error(self, error: ProtocolError) -> None:
        _log.error("Process %s broke the protocol: %s", self._peer_id, error)
        link = self._link
        if link is not None and not self._over:
            self.transmit([Goodbye(f"protocol error: {error}")], 0)
        self.abandon(PeerLostError(f"Process {self._peer_id} broke the protocol. {error}"))

    def _on_cut(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)
        if self._over:
            if self._linger is not None:
                self._linger.cancel()
            return
        deadline = self._resume.disconnected(self._loop.time())
        self._recovery = self._spawn(self._recover(deadline))

    async def _recover(self, deadline: float) -> None:
        try:
            if self._redial is not None:
                await self._come_back(self._redial, deadline)
            else:
                await self._wait_for_peer(deadline)
        except Exception as error:  # noqa: BLE001  (as in `run`: nobody else would ever end the channel)
            self._on_defect(error)

    def _on_defect(self, error: Exception) -> None:
        _log.exception("A defect ends the channel to process %s", self._peer_id)
        self.abandon(PeerLostError(f"A defect in this process ended the channel to {self._peer_id}: {error!r}."))

    async def _come_back(self, redial: Redial, deadline: float) -> None:
        pause = self._limits.redial_first
        reason = ""
        while not self._resume.expired(self._loop.time()):
            try:
                async with asyncio.timeout_at(deadline):
                    link, peer_received = await redial(self._resume.received)
            except TimeoutError:
                break
            except ConnectError as error:
                if error.final:
                    self.abandon(PeerLostError(f"Process {self._peer_id} is lost. {error}", gone=True))
                    return
                reason = f" {error}"
            else:
                await self._on_back(link, peer_received)
                return
            await asyncio.sleep(min(pause, max(0.0, deadline - self._loop.time())))
            pause = min(2 * pause, self._limits.redial_most)
        self.abandon(
            PeerLostError(f"Process {self._peer_id} could not be reached for {self._limits.grace:g} s.{reason}")
        )

    async def _on_back(self, link: Link, peer_received: int) -> None:
        try:
            self.attach(link, peer_received)
        except ProtocolError as error:
            await link.close()
            self._on_protocol_error(error)
        else:
            self.start(link)

    async def _wait_for_peer(self, deadline: float) -> None:
        pause = self._limits.redial_first
        while (left := deadline - self._loop.time()) > 0:
            if self._gone():
                text = f"Process {self._peer_id} is lost: nobody listens on its socket any more."
                self.abandon(PeerLostError(text, gone=True))
                return
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, self._limits.redial_most)
        self.abandon(PeerLostError(f"Process {self._peer_id} has not come back within {self._limits.grace:g} s."))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _stop_recovery(self) -> None:
        if self._ack_timer is not None and self._over:
            self._ack_timer.cancel()
            self._ack_timer = None
        recovery, self._recovery = self._recovery, None
        if recovery is not None and recovery is not asyncio.current_task():
            recovery.cancel()


def _split(messages: Sequence[ChannelMessage], limit: int) -> list[Sequence[ChannelMessage]]:
    """Batches of messages whose bodies come to about `limit` bytes or less, except for a single larger one."""
    sizes = [len(m.body) if isinstance(m, Call | Reply | Item | Cancel) else 0 for m in messages]
    batches: list[Sequence[ChannelMessage]] = []
    start = total = 0
    for index, size in enumerate(sizes):
        if total + size > limit and index > start:
            batches.append(messages[start:index])
            start, total = index, 0
        total += size
    batches.append(messages[start:])
    return batches
