"""What the store tells its users."""

from ...exceptions import ObjectStoreFullError

__all__ = [
    "ObjectNotHereError",
    "ObjectStoreFullError",
    "SpillStorageError",
    "SpilledObjectLostError",
    "StoreClosedError",
]


class ObjectNotHereError(Exception):
    """The node has no copy of the object: it was freed, dropped, or lost."""


class SpillStorageError(Exception):
    """Objects cannot be kept outside memory: the storage is out of reach, full, or damaged."""


class SpilledObjectLostError(SpillStorageError):
    """A spilled object is not there any more, or damaged; to try again does not help."""


class StoreClosedError(Exception):
    """The node's object store was closed."""
