"""Every bound and time-out of the transport, as one frozen value."""

import msgspec

KIB = 1024
MIB = 1024 * KIB


class TransportLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes are in bytes, times in seconds.

    Attributes:
        send_buffer: what a channel holds of queued and unacknowledged messages before senders wait. A message that
            finds the buffer below this is taken whole.
        send_buffer_hard: what it holds with replies, which are never refused on the loop thread; a peer that lets
            more than this pile up is declared lost.
        message: the largest body of one message.
        frame: where a batch of messages is split into several frames.
        grace: how long a broken channel is kept for its peer to come back.
        redial_first, redial_most: the pause between attempts to come back, which doubles from the first to the other.
        heartbeat: an idle connection says something this often.
        silence: a TCP connection on which nothing is heard for so long is cut and dialled again.
        silence_local: the same on a Unix socket. Long, because the kernel reports the death of a local process, and
            an extension that does not release the interpreter's lock silences a healthy one.
        ack_delay, ack_bytes: what arrived is acknowledged after so long, or after so many bytes, where nothing is
            sent that could carry the acknowledgement.
        connect: the default time for `Endpoint.connect`.
        handshake: how long an accepted connection may take to authenticate.
        handshakes: how many accepted connections may be unauthenticated at a time.
        close: closing a channel waits until the peer has taken what was queued, or takes nothing for so long.
    """

    send_buffer: int = 64 * MIB
    send_buffer_hard: int = 256 * MIB
    message: int = 128 * MIB
    frame: int = 4 * MIB
    grace: float = 5.0
    redial_first: float = 0.01
    redial_most: float = 0.5
    heartbeat: float = 1.0
    silence: float = 10.0
    silence_local: float = 60.0
    ack_delay: float = 0.05
    ack_bytes: int = 256 * KIB
    connect: float = 10.0
    handshake: float = 5.0
    handshakes: int = 256
    close: float = 1.0

    @property
    def websocket_message(self) -> int:
        """The largest websocket message: one body of the largest size and a batch that was nearly full before it."""
        return self.message + self.frame + MIB


DEFAULT_LIMITS = TransportLimits()
