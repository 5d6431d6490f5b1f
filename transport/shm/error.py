"""What can go wrong with shared memory.

ShmError
├── ArenaGoneError      the arena cannot be opened (any more)
├── ArenaClosedError    this process closed the arena
└── ObjectMovedError    the object is not (any more) where the reader looked
"""


class ShmError(Exception):
    """Base of this package's errors."""


class ArenaGoneError(ShmError):
    """The arena cannot be opened: the node process that made it has ended, or is out of reach of this process."""


class ArenaClosedError(ShmError):
    """The arena was used after this process closed it."""


class ObjectMovedError(ShmError):
    """The object is not where the reader looked: it was freed, spilled, or restored elsewhere.

    Not a failure by itself: ask the node's object store where the object is now, and read again.
    """
