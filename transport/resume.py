"""One end of a resumable stream of messages: numbers, what is not acknowledged, and how long to wait for the peer.

Sans-I/O: encoded frames go in and out, time is an argument. Each message has a sequence number, counted from 1 in each
direction. A frame is kept, encoded, until the peer has acknowledged its last message. When a connection breaks, the two
ends tell each other how many messages they have received; each sends the frames after that again, and drops what it has
already. So every message is delivered once and in order, or the stream is lost as a whole.
"""

from collections import deque
from collections.abc import Sequence

from .error import ProtocolError
from .protocol import DECODE_ERRORS, ChannelMessage, Frame, encode, frame_decoder


class Resume:
    """The state of one end. Not thread-safe.

    Attributes:
        received: how many messages have arrived, in order.
        held_bytes: size of the frames that the peer has not acknowledged, sent or not.
        unreported: bytes of frames that arrived since the last acknowledgement went out.
    """

    __slots__ = ("_acked", "_last_seq", "_lost_at", "_sent", "_unsent", "grace", "held_bytes", "received", "unreported")

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.received = 0
        self.held_bytes = 0
        self.unreported = 0
        self._last_seq = 0
        self._acked = 0
        # (number of the frame's last message, the encoded frame)
        self._sent: deque[tuple[int, bytes]] = deque()
        self._unsent: deque[tuple[int, bytes]] = deque()
        self._lost_at: float | None = None

    # Sending

    def seal(self, messages: Sequence[ChannelMessage]) -> None:
        """Number the messages, put them in one frame and keep it until it is acknowledged."""
        data = encode(Frame(self._last_seq + 1, self.received, messages))  # pyright: ignore[reportArgumentType]  (encoding takes any sequence)
        self._last_seq += len(messages)
        self.held_bytes += len(data)
        self._unsent.append((self._last_seq, data))
        self.unreported = 0  # the frame says what has arrived

    def next_frame(self) -> bytes | None:
        """The next frame to put on the connection, or None when all have been."""
        if not self._unsent:
            return None
        entry = self._unsent.popleft()
        self._sent.append(entry)
        return entry[1]

    def acknowledgement(self) -> bytes:
        """A frame without messages, to acknowledge what has arrived or to be heard."""
        self.unreported = 0
        return encode(Frame(self._last_seq + 1, self.received, []))

    @property
    def settled(self) -> bool:
        """Whether the peer has acknowledged everything."""
        return not self.held_bytes

    # Receiving

    def open(self, data: bytes) -> list[ChannelMessage]:
        """Take a frame from the connection; returns the messages in it that are new, in order.

        Raises:
            ProtocolError: it is no frame, messages are missing before it, or it acknowledges what was never sent.
        """
        try:
            frame = frame_decoder.decode(data)
        except DECODE_ERRORS as error:
            raise ProtocolError(f"The peer sent {len(data)} bytes that are no frame: {error}") from error
        if frame.ack > self._acked:
            self._acknowledged(frame.ack)
        messages = frame.messages
        if not messages:
            return messages
        known = self.received + 1 - frame.first_seq
        if known < 0:
            raise ProtocolError(
                f"Messages are missing: {self.received} have arrived and the next frame starts with {frame.first_seq}."
            )
        self.unreported += len(data)
        if known:
            messages = messages[known:]
        self.received += len(messages)
        return messages

    def _acknowledged(self, count: int) -> None:
        if count > self._last_seq:
            raise ProtocolError(f"The peer acknowledges message {count}, but only {self._last_seq} were ever sent.")
        self._acked = count
        sent = self._sent
        while sent and sent[0][0] <= count:
            self.held_bytes -= len(sent.popleft()[1])

    # The connection

    def connected(self, peer_received: int) -> None:
        """A new connection stands, and the peer says how many messages it has: send the others again.

        Raises:
            ProtocolError: the peer claims more than was sent, or less than it acknowledged before.
        """
        if peer_received < self._acked:
            raise ProtocolError(
                f"The peer has {peer_received} messages but acknowledged {self._acked}: it has lost its memory."
            )
        self._sent.extend(self._unsent)
        self._acknowledged(peer_received)
        self._unsent, self._sent = self._sent, deque()
        self._lost_at = None

    def disconnected(self, now: float) -> float:
        """The connection broke; returns the time at which the peer counts as lost unless `connected` comes first."""
        if self._lost_at is None:
            self._lost_at = now + self.grace
        return self._lost_at

    def expired(self, now: float) -> bool:
        """Whether the peer has stayed away for longer than the grace period."""
        return self._lost_at is not None and now >= self._lost_at
