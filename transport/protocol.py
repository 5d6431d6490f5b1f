"""The whole wire protocol: every message that two processes exchange over a channel.

Messages are tagged arrays in msgpack, so that they are small and decode in C. Bodies are opaque bytes here: calls to
system actors carry an encoded struct in them, calls to user actors carry what only the process that runs the user's
code will unpickle.

Connection: `Hello` travels in the authenticated HTTP upgrade (see auth.py), `Welcome` is the server's first websocket
message; then come frames, the last of them with a `Goodbye`.
Calls: `Call` is answered by one `Reply`, or by `Item`s and a final `Reply`; `Credit` and `Cancel` go the caller's way.
A frame without messages acknowledges what has arrived, and is the heartbeat of an idle connection.
"""

from typing import Any

import msgspec

from .address import ProcessAddress

PROTOCOL_VERSION = 1


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all messages are: a frozen struct, encoded as `[tag, field, ...]`."""


class Hello(Message, frozen=True, tag=1):
    """The dialler's request for a channel, new or resumed.

    Attributes:
        version: of the protocol.
        software: name and version of the program, for people.
        address: of the dialler.
        number: the dialler's number for the channel, larger than that of every channel it dialled before. Together
            with the dialler's process id it names the channel.
        received: how many messages of this channel the dialler has received; a resumed channel continues there.
        resume: whether the channel existed before.
        replaces: for a new channel, the number of the last channel that the *server* dialled to this process and that
            this process has given up (0: none). Without it a server takes a new channel beside a live one of its own
            for the simultaneous dial of both.
        info: what the process says of itself.
    """

    version: int
    software: str
    address: ProcessAddress
    number: int
    received: int
    resume: bool
    replaces: int
    info: dict[str, str]


class Welcome(Message, frozen=True, tag=2):
    """The server's answer to `Hello`: accepted (`refusal` is empty), or refused.

    Attributes:
        version: of the protocol.
        software: name and version of the program, for people.
        address: of the server.
        received: how many messages of this channel the server has received.
        refusal: "" or one of the REFUSED_ constants.
        reason: the refusal, in words.
        info: what the process says of itself.
    """

    version: int
    software: str
    address: ProcessAddress
    received: int
    refusal: str
    reason: str
    info: dict[str, str]


REFUSED_CROSSED = "crossed"  # both dialled at once, and the server's dial is the one that counts
REFUSED_UNKNOWN = "unknown"  # the server does not have the channel that the dialler wants to resume
REFUSED_STALE = "stale"  # the dialler has opened a newer channel since
REFUSED_CLOSING = "closing"  # the server is shutting down


class Call(Message, frozen=True, tag=3):
    """Run `method` of `actor` in the receiving process. `call_id` is unique per channel and sender; 0: no reply."""

    call_id: int
    actor: str
    method: str
    body: bytes


class Reply(Message, frozen=True, tag=4):
    """The end of a call: its result, or (`failed`) an encoded error."""

    call_id: int
    failed: bool
    body: bytes


class Item(Message, frozen=True, tag=5):
    """One item of a streaming call, numbered from 0."""

    call_id: int
    index: int
    body: bytes


class Credit(Message, frozen=True, tag=6):
    """The caller of a streaming call allows `count` more items."""

    call_id: int
    count: int


class Cancel(Message, frozen=True, tag=7):
    """The caller no longer wants the result of `call_id`; what that means is the receiving actor's affair."""

    call_id: int
    body: bytes


class Goodbye(Message, frozen=True, tag=9):
    """The sender closes the channel on purpose; it will not resume."""

    reason: str


ChannelMessage = Call | Reply | Item | Credit | Cancel | Goodbye


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One websocket message: a batch of messages, numbered from `first_seq`, and how many of the peer's have arrived.

    Numbers start at 1. A frame without messages has the number that the next message will have.
    """

    first_seq: int
    ack: int
    messages: list[ChannelMessage]


def encode(message: Any) -> bytes:
    """Encode one struct."""
    return _encoder.encode(message)


DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What the decoders raise for bytes that are no message: malformed, ill-typed, not UTF-8, nested too deep."""

_encoder = msgspec.msgpack.Encoder()
hello_decoder = msgspec.msgpack.Decoder(Hello)
welcome_decoder = msgspec.msgpack.Decoder(Welcome)
frame_decoder = msgspec.msgpack.Decoder(Frame)
