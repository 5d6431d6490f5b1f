"""Which references a value contains: noted while it is pickled and while it is unpickled.

Pickling is synchronous, so what is noted belongs to the thread. Notes nest: a value that is serialized while another
is (a `__reduce__` that calls `put`) has its own.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


class _Notes(threading.local):
    pickled: list[Any] | None = None
    unpickled: list[Any] | None = None


notes = _Notes()


def note_pickled(ref: Any) -> bool:
    """Tell the serialization under way in this thread that its value contains `ref`.

    Called by `ObjectRef.__reduce__`. False when there is none: somebody pickles the ref by themselves, and nothing
    will keep its object alive on their behalf.
    """
    refs = notes.pickled
    if refs is None:
        return False
    refs.append(ref)
    return True


def note_unpickled(ref: Any) -> bool:
    """Tell the deserialization under way in this thread that `ref` came with its value. False when there is none."""
    refs = notes.unpickled
    if refs is None:
        return False
    refs.append(ref)
    return True


@contextmanager
def recording() -> Generator[list[Any]]:
    """Collect the refs that anything in the block pickles, for pickles that are not made by `serialize`."""
    outer, notes.pickled = notes.pickled, []
    try:
        yield notes.pickled
    finally:
        notes.pickled = outer
