"""Actors: registration, changes, ends."""

import msgspec

from ...transport.address import ProcessAddress
from .body import Body
from .lease import LeaseSpec


class ActorSpec(Body, frozen=True):
    """What the head needs to know of an actor.

    `placing` must be free where the actor is placed, `running` is what it then holds. `descriptor` and `creation` (a
    `Creation`) are passed on unread; without `has_creation`, the latter follows in `SetCreation`.
    """

    actor_id: bytes
    class_name: str
    name: str
    namespace: str
    detached: bool
    max_restarts: int
    owner: ProcessAddress
    placing: LeaseSpec
    running: LeaseSpec
    light: bool
    descriptor: bytes
    has_creation: bool
    creation: bytes


class SetCreation(Body, frozen=True):
    """To the head: the arguments of an actor's constructor are ready (or `error`: will never be).

    `locality`: as in `Demand`, for the large ones among them.
    """

    actor_id: bytes
    creation: bytes
    error: bytes = b""
    locality: list[tuple[str, int]] = msgspec.field(default_factory=list[tuple[str, int]])


class Creation(Body, frozen=True):
    """How to make an actor: a template of kind "create" and its invocation, both encoded."""

    template: bytes
    invocation: bytes


class RegisterActor(Body, frozen=True):
    """To the head: make this actor. Answered with an `ActorFound`.

    This one, or with `get_if_exists` the one that has the name, or nothing (the name is taken).
    """

    spec: ActorSpec
    get_if_exists: bool


class ActorFound(Body, frozen=True):
    """An actor by name or id; `actor_id` is empty when there is none."""

    actor_id: bytes = b""
    descriptor: bytes = b""


class FindActor(Body, frozen=True):
    """To the head: the live actor of that name. Answered with `ActorFound`."""

    name: str
    namespace: str


class ListNamedActors(Body, frozen=True):
    """To the head. Answered with a list of [name, namespace]."""

    namespace: str | None


class WatchActor(Body, frozen=True):
    """To the head: tell this core of every change of an actor (`ActorChanged`), beginning with its present state."""

    actor_id: bytes


class ActorChanged(Body, frozen=True):
    """To a core: what became of an actor. `state`: "pending", "alive", "restarting" or "dead".

    `cause` is an encoded error when dead. `incarnation` counts its starts; a late message of an earlier one is ignored.
    `problem` says why it cannot be placed for now.
    """

    actor_id: bytes
    state: str
    incarnation: int
    address: ProcessAddress | None
    node: ProcessAddress | None
    cause: bytes
    name: str = ""
    problem: str = ""


class KillActor(Body, frozen=True):
    """To the head: end an actor at once. A head that is told twice knows it by the `request`, a random one."""

    actor_id: bytes
    no_restart: bool
    request: bytes = b""


class ActorUnreferenced(Body, frozen=True):
    """To the head, from its owner: no handle is left.

    The actor ends after the calls it has, also those still to be sent.
    """

    actor_id: bytes
    calls_pending: bool


class EndActor(Body, frozen=True):
    """To the executor that hosts an actor: end it after the calls it has."""

    actor_id: bytes


class DropActor(Body, frozen=True):
    """To the executor that hosts a light actor: it was killed.

    What runs on a thread runs to its end, nothing more starts.
    """

    actor_id: bytes


class ActorExited(Body, frozen=True):
    """To the head, from the actor's host: it ended itself on purpose."""

    actor_id: bytes
    reason: str
