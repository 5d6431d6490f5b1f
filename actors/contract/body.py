"""What all bodies of calls are made of."""

from typing import Any

import msgspec

CORE = "core"
NODE = "node"
HEAD = "head"
EXECUTOR = "executor"


class Body(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all bodies are: a frozen struct, encoded as an array."""


def encode(body: Any) -> bytes:
    """Encode a body."""
    return _encoder.encode(body)


def decoder_of(cls: type[Any]) -> msgspec.msgpack.Decoder[Any]:
    """The (cached) decoder of a body's class."""
    found = _decoders.get(cls)
    if found is None:
        found = _decoders[cls] = msgspec.msgpack.Decoder(cls)
    return found


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {}
