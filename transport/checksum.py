"""The checksum of bulk streams: CRC-32 as in zlib (RFC 1952), by the fastest means at hand.

Each byte is summed up once at either end of a stream, so the checksum must be much faster than a socket. Measured on a
core that receives 2.3 GB/s: zlib 2.2 GB/s, zlib-ng 12, ISA-L 26. All compute the same, so that two processes need not
have the same one; without ISA-L streams are half as fast, and just as safe.
"""

import zlib

try:
    from isal.isal_zlib import crc32 as _fastest
except ImportError:
    _fastest = zlib.crc32

CHECKSUM_BYTES = 4


def checksum(data: memoryview, value: int = 0) -> int:
    """The checksum of `data`, going on from the `value` of what came before it."""
    return _fastest(data, value)
