"""The whole wire protocol: every message that two processes exchange over a channel.

Messages are tagged arrays in msgpack, so that they are small and decode in C. Bodies are opaque bytes here: calls to
system actors carry an encoded struct in them, calls to user actors carry what only the process that runs the user's
code will unpickle.

Connection: `Hello` and `Welcome` (after authentication in the HTTP upgrade), then frames, then `Goodbye`.
Calls: `Call` is answered by one `Reply`, or by `Item`s and a final `Reply`; `Credit` and `Cancel` go the caller's way.
"""

from typing import Any

import msgspec

from .address import ProcessAddress

PROTOCOL_VERSION = 1


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all messages are: a frozen struct, encoded as `[tag, field, ...]`."""


class Hello(Message, tag=1):
    """The dialler's first message on a connection.

    `received` is the sequence number of the last message it has from this peer on this channel, so that a resumed
    channel continues there; `channel_id` is chosen by the dialler when the channel is new.
    """

    version: int
    software: str
    address: ProcessAddress
    channel_id: str
    received: int
    resume: bool
    info: dict[str, str]


class Welcome(Message, tag=2):
    """The server's answer to `Hello`: accepted (`refusal` is empty) or refused, with the reason for people."""

    version: int
    software: str
    address: ProcessAddress
    received: int
    refusal: str
    info: dict[str, str]


class Call(Message, tag=3):
    """Ask `actor` in the receiving process to run `method`. `call_id` is unique per channel and sender; 0 asks for no reply."""

    call_id: int
    actor: str
    method: str
    body: bytes


class Reply(Message, tag=4):
    """The end of a call: its result, or (`failed`) an encoded error."""

    call_id: int
    failed: bool
    body: bytes


class Item(Message, tag=5):
    """One item of a streaming call, numbered from 0."""

    call_id: int
    index: int
    body: bytes


class Credit(Message, tag=6):
    """The caller of a streaming call allows `count` more items."""

    call_id: int
    count: int


class Cancel(Message, tag=7):
    """The caller no longer wants the result of `call_id`; what that means is the receiving actor's affair."""

    call_id: int
    body: bytes


class Ack(Message, tag=8):
    """Sent alone when there is nothing to send with it: all messages up to `received` have arrived."""

    received: int


class Goodbye(Message, tag=9):
    """The sender closes the channel on purpose; it will not resume."""

    reason: str


AnyMessage = Hello | Welcome | Call | Reply | Item | Credit | Cancel | Ack | Goodbye


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One websocket frame: a batch of messages, numbered from `first_seq`, and the newest acknowledgement."""

    first_seq: int
    ack: int
    messages: list[Call | Reply | Item | Credit | Cancel | Ack | Goodbye]


def encode(message: Any) -> bytes:
    """Encode one struct."""
    return _encoder.encode(message)


_encoder = msgspec.msgpack.Encoder()
handshake_decoder = msgspec.msgpack.Decoder(Hello | Welcome)
frame_decoder = msgspec.msgpack.Decoder(Frame)
