"""One change of the head's state, and what every state store can hold."""

from typing import Final, NamedTuple

LONGEST_KEY: Final = 1024
"""Bytes of a key in UTF-8. PostgreSQL indexes at most 2,704 bytes; hash what may be longer."""

LONGEST_NAME: Final = 64
"""Characters of a table's or a cluster's name."""

LARGEST_VALUE: Final = 64 * 2**20
"""Bytes of a value. The stores could take more (Redis 512 MiB), but a batch travels in one piece."""


class Put(NamedTuple):
    """From now on `key` of `table` has this value, whether or not there was one before."""

    table: str
    key: str
    value: bytes


class Delete(NamedTuple):
    """From now on `table` has no such key, whether or not there was one before."""

    table: str
    key: str


Change = Put | Delete


def check_change(table: str, key: str, value: bytes = b"") -> None:
    """Refuse what some store could not hold, before it is queued and cannot be refused any more.

    Raises:
        ValueError: a table's name is no short identifier, a key empty, too long or no Unicode, or a value too large.
        TypeError: a value is not `bytes`.
    """
    if not (table.isidentifier() and table.isascii() and len(table) <= LONGEST_NAME):
        raise ValueError(f"{table!r} cannot name a table of the state: use a short identifier, as in 'actors'.")
    if not key or len(key if key.isascii() else key.encode()) > LONGEST_KEY:
        raise ValueError(f"A key of the state has 1 to {LONGEST_KEY} bytes in UTF-8, not {len(key)} characters.")
    if type(value) is not bytes:
        raise TypeError(f"A value of the state is bytes, not {type(value).__name__}.")
    if len(value) > LARGEST_VALUE:
        raise ValueError(f"{key!r} of {table} has {len(value)} bytes; the state holds {LARGEST_VALUE} at most.")
