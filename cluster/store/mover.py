"""The blocking work of a store: objects to and from the spill storage, memory back to the kernel. Runs in threads."""

import logging

from ...transport.shm.arena import Arena
from ...transport.shm.stored_object import clear_object, move_object
from .command import Punch, Restore, Spill
from .error import SpilledObjectLostError, SpillStorageError
from .event import Punched, RestoreDone, SpillDone
from .spill_storage import SpillStorage

log = logging.getLogger(__name__)

_WORD = 8
"""An object's first word says that it is complete. It is neither spilled nor restored, but set at the end."""


class Mover:
    """Carries out commands and says how it went. Thread-safe: the machine gives no range to two commands."""

    def __init__(self, arena: Arena, storage: SpillStorage | None) -> None:
        self._arena = arena
        self._given_storage = storage

    @property
    def _storage(self) -> SpillStorage:
        if self._given_storage is None:
            raise SpillStorageError("This store has no spill storage.")
        return self._given_storage

    def spill(self, command: Spill) -> SpillDone:
        """Copy an object to the storage."""
        content = self._arena.memory[command.offset + _WORD : command.offset + command.size]
        try:
            url = self._storage.write(f"{command.object_id.hex()}-{command.key}", content)
        except SpillStorageError as error:
            log.warning("Spilling object %s failed: %s", command.object_id.hex(), error)
            return SpillDone(command.key, "", str(error))
        return SpillDone(command.key, url)

    def restore(self, command: Restore) -> RestoreDone:
        """Copy an object back into memory; it can be read once all of it is there."""
        clear_object(self._arena.memory, command.offset)
        content = self._arena.memory[command.offset + _WORD : command.offset + command.size]
        try:
            self._storage.read(command.url, content)
        except SpillStorageError as error:
            log.warning("Restoring object %s failed: %s", command.object_id.hex(), error)
            return RestoreDone(command.key, str(error), lost=isinstance(error, SpilledObjectLostError))
        move_object(self._arena.memory, command.offset, 0)
        return RestoreDone(command.key)

    def punch(self, command: Punch) -> Punched:
        """Give memory back to the kernel."""
        try:
            self._arena.punch(command.offset, command.size)
        except OSError as error:
            log.warning("Giving memory back failed: %s", error)
            return Punched(command.offset, command.size, str(error))
        return Punched(command.offset, command.size)

    def delete(self, url: str) -> None:
        """Delete a spilled copy; if that fails, it goes with the session's folder."""
        try:
            self._storage.delete(url)
        except SpillStorageError as error:
            log.warning("%s", error)

    def clear(self) -> None:
        """Delete all spilled copies."""
        if self._given_storage is None:
            return
        try:
            self._given_storage.clear()
        except SpillStorageError as error:
            log.warning("%s", error)
