"""Refs and handles that outlive the session they were made in: their use is an error, and never a wait."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...exceptions import ActorHandleNotFoundError, ObjectLostError
from ..object_ref import ObjectRef

if TYPE_CHECKING:
    from .actor_entry import NativeActorEntry
    from .hub import Hub
    from .object_table import ObjectTable


def check_refs(refs: Iterable[ObjectRef[Any]], table: "ObjectTable") -> None:
    """Refuse refs of another session than the one `table` belongs to.

    Raises:
        ObjectLostError: there is one.
    """
    for ref in refs:
        if getattr(ref._entry, "table", None) is not table:  # one of local mode has none
            raise ObjectLostError(
                ref.hex(), reason="it belonged to a session that shutdown() has ended, so make it again in this one"
            )


def check_handle(actor: "NativeActorEntry", hub: "Hub") -> None:
    """Refuse the handle of an actor of another session than `hub`'s.

    Raises:
        ActorHandleNotFoundError: it is one.
    """
    if actor.session is not hub:
        raise ActorHandleNotFoundError(
            f"This handle of an actor of class {actor.descriptor.name} belongs to a session that shutdown() has ended, "
            "and the actor has ended with it: create the actor again in this session."
        )
