"""Errors of objects and of the store that keeps them."""

from typing import Any

from .error import RayError


class ObjectStoreFullError(RayError):
    """The object store has no room, even after spilling and waiting.

    Drop references that are no longer needed, or start with a larger `object_store_memory`.
    """


class OutOfDiskError(RayError):
    """The disk that objects spill to is full. Free space there, or spill elsewhere."""


class ObjectLostError(RayError):
    """All copies of an object are gone and it cannot be made again.

    Values of `put` cannot be made again; results of tasks can, within `max_retries`.

    Attributes:
        object_ref_hex: the object's id in hexadecimal.
        owner_address: the process that owns it, or None.
        call_site: where the ref was created, or "".
        reason: why, in one sentence.
    """

    _reason = "all copies of it were lost, with the nodes or processes that kept them, and nothing can make it again"

    def __init__(
        self, object_ref_hex: Any, owner_address: Any = None, call_site: str = "", *, reason: str = ""
    ) -> None:
        self.object_ref_hex = object_ref_hex.hex() if isinstance(object_ref_hex, bytes) else str(object_ref_hex)
        self.owner_address = owner_address
        self.call_site = call_site
        self.reason = reason or self._reason
        site = f" It was created at: {call_site}." if call_site else ""
        super().__init__(f"Object {self.object_ref_hex} cannot be read: {self.reason.rstrip('.')}.{site}")


class ObjectFreedError(ObjectLostError):
    """The object was freed by hand while refs to it were left. Free only what nobody reads any more."""

    _reason = "it was freed explicitly while references to it were left"


class OwnerDiedError(ObjectLostError):
    """The process that owned the object died, and with it what is known about the object.

    Have a longer-lived process create it, for example the driver or an actor.
    """

    _reason = "the process that owned it, where its ref was created, has died"


class ObjectFetchTimedOutError(ObjectLostError):
    """A copy exists, but it could not be fetched in time. Look at the network and at the load of its node."""

    _reason = "it could not be fetched in time from the node that has it"


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """An object was freed although references to it are left: a defect of Limelight. Please report it."""

    _reason = "it was freed although references were left, which is a defect of Limelight"


class ObjectReconstructionFailedError(ObjectLostError):
    """A lost object could not be made again by running its task again. The message says why."""

    _reason = "it was lost, and running its task again failed"

    def __init__(
        self,
        object_ref_hex: Any,
        reason: Any = None,
        reason_message: str | None = None,
        owner_address: Any = None,
        call_site: str = "",
    ) -> None:
        super().__init__(
            object_ref_hex, owner_address, call_site, reason=reason_message or (str(reason) if reason else "")
        )


class ObjectReconstructionFailedMaxAttemptsExceededError(ObjectReconstructionFailedError):
    """A lost object's task was run again as often as `max_retries` allows. Raise it."""

    _reason = "it was lost, and its task was run again as often as max_retries allows"


class ObjectReconstructionFailedLineageEvictedError(ObjectReconstructionFailedError):
    """A lost object cannot be made again because what its task needs is no longer remembered."""

    _reason = "it was lost, and the record of how it was made is no longer kept"


class GetTimeoutError(RayError, TimeoutError):
    """`get` did not have all values within its timeout. They are still being made: get again to go on waiting."""


class ObjectRefStreamEndOfStreamError(RayError):
    """A streaming task has no more items. Generators turn it into the end of the iteration."""


class OufOfBandObjectRefSerializationException(RayError):  # noqa: N818  # Ray's name
    """An ObjectRef was pickled where nothing holds the object for whoever unpickles it (Ray's spelling).

    Pass refs as arguments, inside values or results; do not pickle them yourself.
    """
