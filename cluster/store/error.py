"""What the store tells its users."""

from ...exceptions import ObjectStoreFullError

__all__ = ["ObjectNotHereError", "ObjectStoreFullError", "SpillStorageError", "StoreClosedError"]


class ObjectNotHereError(Exception):
    """The node has no copy of the object: it was freed, dropped, or lost."""


class SpillStorageError(Exception):
    """Objects cannot be kept outside memory: the storage is out of reach, full, or damaged."""


class StoreClosedError(Exception):
    """The node's object store was closed."""
