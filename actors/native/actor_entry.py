"""What a process keeps for an actor that it has handles to."""

from typing import Any

from ..actor_descriptor import ActorDescriptor
from .actor_client import ActorClient


class NativeActorEntry:
    """Shared by all handles of one actor in one process.

    Attributes:
        actor_id: 16 bytes.
        descriptor: its class, with or without the class itself.
        client: the calls that this process makes.
        hold: a ref to the object that stands for the actor: while anybody in the cluster holds it, the actor has
            handles. None for handles that do not keep it alive (got by name, or of a detached actor).
        max_task_retries: default of its methods.
        max_pending_calls: limit of unfinished calls of this process; -1: none.
        session: the hub of the session that the handles belong to.
    """

    __slots__ = (
        "__weakref__",
        "actor_id",
        "client",
        "descriptor",
        "hold",
        "max_pending_calls",
        "max_task_retries",
        "session",
    )

    def __init__(
        self,
        actor_id: bytes,
        descriptor: ActorDescriptor,
        client: ActorClient,
        hold: Any,
        max_task_retries: int,
        max_pending_calls: int,
        session: Any,
    ) -> None:
        self.actor_id = actor_id
        self.descriptor = descriptor
        self.client = client
        self.hold = hold
        self.max_task_retries = max_task_retries
        self.max_pending_calls = max_pending_calls
        self.session = session
