"""A value's parts (a pickle and its out-of-band buffers) as one inline blob, and back."""

from typing import TYPE_CHECKING, Any

import msgspec

from ..serialization import Serialized, deserialize

if TYPE_CHECKING:
    from collections.abc import Sequence

INLINE_LIMIT = 100 * 1024
"""Values up to this size travel inside messages and stay in their owner's memory; larger ones go to the store."""

_PICKLE_START = 0x80
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[bytes])


def to_inline(serialized: Serialized) -> bytes:
    """One blob.

    A pickle without buffers is its own blob (a pickle of protocol 2 or later starts with 0x80, an array of msgpack
    never does).
    """
    if not serialized.buffers:
        return serialized.data
    return _encoder.encode([serialized.data, *serialized.buffers])


def from_inline(blob: bytes) -> Any:
    """The value in a blob."""
    if blob[0] == _PICKLE_START:
        return deserialize(blob, ())
    data, *buffers = _decoder.decode(blob)
    return deserialize(data, [memoryview(buffer) for buffer in buffers])


def from_parts(parts: "Sequence[memoryview]") -> Any:
    """The value whose parts lie in the store."""
    return deserialize(parts[0], parts[1:])
