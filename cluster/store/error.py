"""What the store tells its users."""


class ObjectStoreFullError(Exception):
    """There is no room in the node's object store, and waiting did not help. The message says who holds it."""


class ObjectNotHereError(Exception):
    """The node has no copy of the object: it was freed, dropped, or lost."""


class SpillStorageError(Exception):
    """Objects cannot be kept outside memory: the storage is out of reach, full, or damaged."""


class StoreClosedError(Exception):
    """The node's object store was closed."""
