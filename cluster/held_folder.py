"""Folders on one machine that several processes use: each stays while somebody holds it, and goes when room is needed.

A folder in use is held by a shared `flock` on its lock file, so that a user that dies lets go of it; whoever removes it
needs that lock exclusively, and asks without waiting.

    <root>/locks/<name>          who uses it
    <root>/locks/<name>.make     who is making it
    <root>/partial/              work in progress; left-overs of processes that died are removed at start
"""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_ABANDONED = 3600.0
"""Seconds after which an unfinished file belongs to nobody."""


class _Held(NamedTuple):
    lock: int
    users: int


class HeldFolders:
    """What stores of packages and of environments share. Thread-safe, and safe between processes.

    Args:
        root: a folder of the user's, made if need be.
        quota: bytes above which folders that nobody holds are removed, the one used longest ago first.
    """

    def __init__(self, root: Path, quota: int) -> None:
        self._locks = root / "locks"
        self._partial = root / "partial"
        for folder in (self._locks, self._partial):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._quota = quota
        self._held: dict[str, _Held] = {}
        self._mutex = threading.Lock()
        self._sweep()

    # --- what a subclass knows ---

    def _names(self) -> Iterable[str]:
        """All that is here."""
        raise NotImplementedError

    def _size(self, name: str) -> int:
        """Bytes of it."""
        raise NotImplementedError

    def _last_use(self, name: str) -> float:
        """When it was used last; Unix time."""
        raise NotImplementedError

    def _remove(self, name: str) -> None:
        """Remove it; nobody holds it."""
        raise NotImplementedError

    # --- holding ---

    def hold(self, name: str) -> None:
        """Keep it from being removed, whether it is there yet or not, until as many `let_go`s or the process's end."""
        if self._share(name):
            return
        self._share(
            name, open_lock(self._locks / name, fcntl.LOCK_SH)
        )  # outside the mutex: it may wait for an eviction

    def _share(self, name: str, lock: int | None = None) -> bool:
        """Count one more user of what this process holds, or holds from now on by `lock`."""
        with self._mutex:
            held = self._held.get(name)
            if held is None:
                if lock is None:
                    return False
                held = _Held(lock, 0)
            elif lock is not None:  # another thread was quicker
                os.close(lock)
            self._held[name] = held._replace(users=held.users + 1)
            return True

    def let_go(self, name: str) -> None:
        """Undo one `hold`. The folder stays until its room is needed.

        Raises:
            KeyError: it is not held.
        """
        with self._mutex:
            held = self._held[name]
            if held.users > 1:
                self._held[name] = held._replace(users=held.users - 1)
                return
            del self._held[name]
            os.close(held.lock)

    def close(self) -> None:
        """Let go of everything this process holds."""
        with self._mutex:
            for held in self._held.values():
                os.close(held.lock)
            self._held.clear()

    def making_lock(self, name: str) -> Path:
        """The file that whoever makes the folder locks, and nobody keeps.

        To wait for an exclusive lock on the other one would be to wait for all who already use the folder.
        """
        return self._locks / f"{name}.make"

    @contextmanager
    def workplace(self, suffix: str = "") -> Generator[Path]:
        """A path to make something at; what is still there afterwards is removed."""
        place = self._partial / f"{os.urandom(8).hex()}{suffix}"
        try:
            yield place
        finally:
            remove(place)

    # --- room ---

    def make_room(self, keep: str = "") -> None:
        """Remove what nobody holds, but `keep`, the one used longest ago first, until the quota holds."""
        names = set(self._names())
        sizes = {name: self._size(name) for name in names}
        total = sum(sizes.values())
        if total <= self._quota:
            return
        for name in sorted(names - {keep}, key=self._last_use):
            if total <= self._quota:
                return
            if self._evict(name):
                total -= sizes[name]

    def _evict(self, name: str) -> bool:
        """Remove one, unless somebody uses it."""
        path = self._locks / name
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if not _is_file(lock, path):
                return False
            self._remove(name)
            self.making_lock(name).unlink(missing_ok=True)
            path.unlink()
            return True
        finally:
            os.close(lock)

    def _sweep(self) -> None:
        oldest = time.time() - _ABANDONED
        for place in self._partial.iterdir():
            if last_change(place) < oldest:
                remove(place)


def open_lock(path: Path, kind: int) -> int:
    """A lock file, locked; never one that an eviction has just unlinked."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, kind)
            if _is_file(lock, path):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for what has just gone. Links count as themselves."""
    try:
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        return sum(size_of(inner) for inner in path.iterdir())
    except FileNotFoundError:
        return 0


def last_change(path: Path) -> float:
    """When the file or folder was changed last; Unix time, 0 for what has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def remove(place: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
