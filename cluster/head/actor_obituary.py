"""What the callers of a dead actor are told: the best that the head and the actor's node know of its end."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ...actors.contract import NODE, ActorSpec, DescribeDeath
from ...actors.serialization import serialize_error
from ...exceptions import (
    ActorDiedError,
    ActorPlacementGroupRemoved,
    ActorUnschedulableError,
    DeathCause,
    DeathKind,
    RuntimeEnvSetupError,
)
from ...transport.error import TransportError
from ...transport.protocol import Reply
from ..scheduling import actor_table as t
from ..scheduling.lease_terms import lease_spec
from ..scheduling.strategy import InBundle

if TYPE_CHECKING:
    from .head import Head

_KINDS = {
    "killed": DeathKind.KILLED,
    "out_of_scope": DeathKind.OUT_OF_SCOPE,
    "exited": DeathKind.INTENDED_EXIT,
    "owner_died": DeathKind.OUT_OF_SCOPE,
    "node_died": DeathKind.NODE_LOST,
}


class Obituaries:
    """On the head's loop."""

    def __init__(self, head: "Head") -> None:
        self._head = head

    def write(self, view: t.ActorView, spec: ActorSpec | None, then: Callable[[bytes], None]) -> None:
        """Call back with the error that a dead actor's callers get."""
        cause = view.cause
        name = view.name or view.class_name
        if cause is None:
            then(serialize_error(ActorDiedError(actor_id=view.actor_id, actor_name=name)))
        elif cause.error:
            then(cause.error)
        elif cause.kind in ("unschedulable", "worker_died") and self._group_is_gone(spec):
            text = f"The placement group of actor {name} was removed, and the actor with it; create both again."
            then(serialize_error(ActorPlacementGroupRemoved(text)))
        elif cause.kind == "unschedulable":
            then(serialize_error(ActorUnschedulableError(f"Actor {name} cannot be placed: {cause.text}")))
        elif cause.kind == "environment_failed":
            then(serialize_error(RuntimeEnvSetupError(cause.text)))
        else:

            def tell(seen: DeathCause) -> None:
                then(serialize_error(ActorDiedError(seen, actor_id=view.actor_id, actor_name=name)))

            self.describe(view, cause, tell)

    def describe(self, view: t.ActorView, cause: t.DeathCause, then: Callable[[DeathCause], None]) -> None:
        """Call back with what is known of the end of an actor's process: where its node can say, what that saw."""
        node = self._head.nodes.get(view.node_id)
        if cause.kind != "worker_died" or node is None:
            kind = _KINDS.get(cause.kind, DeathKind.EXITED)
            then(DeathCause(kind, cause.text, node_id=view.node_id or None))
            return

        def described(reply: Reply | TransportError) -> None:
            if isinstance(reply, TransportError) or not reply.body or reply.failed:
                then(DeathCause(DeathKind.SIGNALLED, cause.text))
            else:
                then(_death_decoder.decode(reply.body))

        self._head.process.ask(node.address, NODE, DescribeDeath(view.worker_id), described)

    def _group_is_gone(self, spec: ActorSpec | None) -> bool:
        strategy = None if spec is None else lease_spec(spec.running).strategy
        return isinstance(strategy, InBundle) and strategy.group_id not in self._head.view.groups


_death_decoder = msgspec.msgpack.Decoder(DeathCause)
