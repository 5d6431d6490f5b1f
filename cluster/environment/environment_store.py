"""The environments that pip, uv and conda have made on one machine, kept from session to session.

An environment cannot be moved (its scripts name their interpreter by its path), so it is made where it is used. What
counts is the mark beside it, made last: without it, it is half of an environment, left by a builder that died, and the
next builder starts anew.

    <root>/environments/<digest>/    an environment
    <root>/marks/<digest>            it is complete; holds its size in bytes, and its time is that of the last use
    <root>/locks/  <root>/partial/   as in `HeldFolders`
"""

import os
from collections.abc import Iterable
from pathlib import Path

from ..held_folder import HeldFolders, last_change, remove, size_of
from .installer import python_of

DEFAULT_QUOTA = 10 * 1024**3

_FOLDER_VARIABLE = "LIMELIGHT_CACHE_DIR"


def cache_folder() -> Path:
    """The user's folder for what outlives sessions: $LIMELIGHT_CACHE_DIR, or limelight in the system's cache folder."""
    given = os.environ.get(_FOLDER_VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "limelight"


class EnvironmentStore(HeldFolders):
    """Environments by digest. Thread-safe, and safe between processes. Methods block on the disk."""

    def __init__(self, root: Path, quota: int = DEFAULT_QUOTA) -> None:
        """Use the folder `root`, made if need be."""
        self._environments = root / "environments"
        self._marks = root / "marks"
        for folder in (self._environments, self._marks):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(root, quota)

    def folder(self, digest: str) -> Path:
        """Where the environment is, or is to be made."""
        return self._environments / digest

    def is_complete(self, digest: str) -> bool:
        """Whether it is there, and all of it; not where its interpreter has gone since."""
        return (self._marks / digest).exists() and python_of(self.folder(digest)).exists()

    def used(self, digest: str) -> None:
        """It is used now."""
        os.utime(self._marks / digest)

    def clear(self, digest: str) -> None:
        """Remove what a builder may have left, before it is made. For whoever has the lock for making."""
        (self._marks / digest).unlink(missing_ok=True)
        remove(self.folder(digest))

    def complete(self, digest: str) -> None:
        """It is made. For whoever has the lock for making."""
        os.sync()  # a machine that loses its power must not keep the mark without the files
        with self.workplace() as place:
            place.write_text(str(size_of(self.folder(digest))))
            place.replace(self._marks / digest)
        self.make_room(keep=digest)

    def _names(self) -> Iterable[str]:
        return {path.name for folder in (self._environments, self._marks) for path in folder.iterdir()}

    def _size(self, name: str) -> int:
        try:
            return int((self._marks / name).read_text())
        except (FileNotFoundError, ValueError):
            return size_of(self.folder(name))

    def _last_use(self, name: str) -> float:
        return max(last_change(self._marks / name), last_change(self.folder(name)))

    def _remove(self, name: str) -> None:
        (self._marks / name).unlink(missing_ok=True)
        with self.workplace() as place:
            if self.folder(name).exists():
                self.folder(name).rename(place)
