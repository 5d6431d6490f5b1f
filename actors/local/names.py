"""The actors of local mode, by id and by name."""

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ...exceptions import ActorAlreadyExistsError, ActorHandleNotFoundError

if TYPE_CHECKING:
    from .actor import LocalActor


class ActorNames:
    """Finds actors by name; only detached ones are kept alive."""

    def __init__(self) -> None:
        self._named: WeakValueDictionary[tuple[str, str], LocalActor] = WeakValueDictionary()
        self._detached: set[LocalActor] = set()
        self._by_id: WeakValueDictionary[bytes, LocalActor] = WeakValueDictionary()

    def find(self, namespace: str, name: str) -> "LocalActor | None":
        """The live actor of that name."""
        return self._named.get((namespace, name))

    def find_id(self, actor_id: bytes) -> "LocalActor":
        """The actor of that id.

        Raises:
            ActorHandleNotFoundError: it is gone.
        """
        found = self._by_id.get(actor_id)
        if found is None:
            raise ActorHandleNotFoundError(f"Actor {actor_id.hex()} is gone: no handle to it was left.")
        return found

    def add(self, namespace: str, actor: "LocalActor") -> None:
        """Give an actor its name.

        Raises:
            ActorAlreadyExistsError: another has it.
        """
        self._by_id[actor.actor_id] = actor
        key = (namespace, actor.options.name)
        if actor.options.name:
            if key in self._named:
                raise ActorAlreadyExistsError(
                    f"The name {key[1]!r} is taken in the namespace {namespace!r}: choose another, pass "
                    "get_if_exists=True to share the actor that has it, or kill that."
                )
            self._named[key] = actor
        if actor.options.lifetime == "detached":
            self._detached.add(actor)

    def remove(self, actor: "LocalActor") -> None:
        """Take a dead actor's name."""
        self._detached.discard(actor)
        for key, named in list(self._named.items()):
            if named is actor:
                del self._named[key]

    def all(self) -> list[tuple[str, str]]:
        """(namespace, name) of all that live."""
        return sorted(self._named)
