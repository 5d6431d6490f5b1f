"""The packages of runtime environments on one machine: stored once, unpacked once, kept while somebody uses them.

Several processes may share one root folder. A package in use is held by a shared `flock` on its lock file, so that a
user that dies lets go of it; whoever removes it needs that lock exclusively, and asks without waiting. Everything
appears by `rename`: what is visible is complete.

    <root>/archives/<digest>.zip    what was put
    <root>/unpacked/<digest>/       what is used
    <root>/locks/<digest>           who uses it
    <root>/locks/<digest>.unpack    who is unpacking it
    <root>/partial/                 work in progress; left-overs of processes that died are removed at start
"""

import fcntl
import hashlib
import os
import shutil
import stat
import threading
import time
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple, cast

from ..actors.package import SCHEME, digest_of
from ..exceptions import RuntimeEnvSetupError

DEFAULT_QUOTA = 10 * 1024**3
_CHUNK = 1 << 20
_ABANDONED = 3600.0
"""Seconds after which an unfinished file belongs to nobody."""


class _Held(NamedTuple):
    lock: int
    users: int


class PackageStore:
    """Packages by URI ("pkg://<sha256>"). Thread-safe, and safe between processes. Methods block on the disk."""

    def __init__(self, root: Path, quota: int = DEFAULT_QUOTA) -> None:
        """Use the folder `root`, made if need be; remove unused packages when there are more than `quota` bytes."""
        self._archives = root / "archives"
        self._unpacked = root / "unpacked"
        self._locks = root / "locks"
        self._partial = root / "partial"
        for folder in (self._archives, self._unpacked, self._locks, self._partial):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._quota = quota
        self._held: dict[str, _Held] = {}
        self._unpacked_sizes: dict[str, int] = {}
        self._mutex = threading.Lock()
        self._sweep()

    def has(self, uri: str) -> bool:
        """Whether the package was put here and is still here."""
        return self._archive(_digest(uri)).exists()

    def archive(self, uri: str) -> Path:
        """The file to send to another machine.

        Raises:
            KeyError: there is none.
        """
        path = self._archive(_digest(uri))
        if not path.exists():
            raise KeyError(uri)
        return path

    def put(self, uri: str, content: Path | bytes) -> None:
        """Store an archive under its URI. Doing so again changes nothing.

        Raises:
            ValueError: the content is not what the URI says: it was damaged on the way.
        """
        digest = _digest(uri)
        if self.has(uri):
            return
        with self._workplace(".zip") as place:
            if isinstance(content, bytes):
                place.write_bytes(content)
            else:
                shutil.copyfile(content, place)
            found = digest_of(place)
            if found != digest:
                raise ValueError(
                    f"The package {uri} arrived damaged: its content has the digest {found}. Send it again."
                )
            place.replace(self._archive(digest))
        self._make_room(keep=digest)

    def acquire(self, uri: str) -> Path:
        """The folder the package is unpacked in; it stays until as many `release`s, or until the process ends.

        Raises:
            KeyError: the package is not here; `put` it first.
            RuntimeEnvSetupError: it cannot be unpacked.
        """
        digest = _digest(uri)
        folder = self._unpacked / digest
        if self._share(digest):
            return folder
        lock = self._hold(digest, uri)  # outside the mutex: unpacking may take a while
        self._share(digest, lock)
        self._make_room()
        os.utime(folder)  # "used last", for the eviction
        return folder

    def _share(self, digest: str, lock: int | None = None) -> bool:
        """Count one more user of a package that this process holds, or holds from now on by `lock`."""
        with self._mutex:
            held = self._held.get(digest)
            if held is None and lock is None:
                return False
            if held is not None and lock is not None:  # another thread was quicker
                os.close(lock)
            held = held or _Held(cast("int", lock), 0)
            self._held[digest] = held._replace(users=held.users + 1)
            return True

    def release(self, uri: str) -> None:
        """Undo one `acquire`. The folder stays until its room is needed.

        Raises:
            KeyError: it is not acquired.
        """
        digest = _digest(uri)
        with self._mutex:
            held = self._held[digest]
            if held.users > 1:
                self._held[digest] = held._replace(users=held.users - 1)
                return
            del self._held[digest]
            os.close(held.lock)
        self._make_room()

    def close(self) -> None:
        """Let go of everything this process acquired."""
        with self._mutex:
            for held in self._held.values():
                os.close(held.lock)
            self._held.clear()

    def _hold(self, digest: str, uri: str) -> int:
        """Take a shared lock on the unpacked package, unpacking it if nobody has.

        It is kept from the first look on, so no eviction comes in between. Who unpacks is settled by another lock,
        which nobody keeps: to wait here for an exclusive one would be to wait for all who already use the package.
        """
        lock = self._open_lock(self._locks / digest, fcntl.LOCK_SH)
        try:
            if not (self._unpacked / digest).exists():
                unpacking = self._open_lock(self._unpack_lock(digest), fcntl.LOCK_EX)
                try:
                    if not (self._unpacked / digest).exists():
                        self._unpack(digest, uri)
                finally:
                    os.close(unpacking)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _unpack_lock(self, digest: str) -> Path:
        return self._locks / f"{digest}.unpack"

    def _open_lock(self, path: Path, kind: int) -> int:
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

    def _unpack(self, digest: str, uri: str) -> None:
        archive = self._archive(digest)
        if not archive.exists():
            raise KeyError(uri)
        with self._workplace("") as place:
            place.mkdir()
            try:
                with zipfile.ZipFile(archive) as opened:
                    _extract(opened, place, self._quota)
            except (zipfile.BadZipFile, ValueError, OSError) as exc:
                raise RuntimeEnvSetupError(f"The package {uri} cannot be unpacked in {self._unpacked}: {exc}") from exc
            place.rename(self._unpacked / digest)

    @contextmanager
    def _workplace(self, suffix: str) -> Generator[Path]:
        place = self._partial / f"{os.urandom(8).hex()}{suffix}"
        try:
            yield place
        finally:
            _remove(place)

    def _archive(self, digest: str) -> Path:
        return self._archives / f"{digest}.zip"

    def _make_room(self, keep: str = "") -> None:
        """Remove unused packages but `keep`, the one used longest ago first, until the quota holds."""
        digests = {
            path.name.removesuffix(".zip") for folder in (self._unpacked, self._archives) for path in folder.iterdir()
        }
        sizes = {digest: self._size(digest) for digest in digests}
        total = sum(sizes.values())
        if total <= self._quota:
            return
        for digest in sorted(digests - {keep}, key=self._last_use):
            if total <= self._quota:
                return
            if self._evict(digest):
                total -= sizes[digest]

    def _size(self, digest: str) -> int:
        folder = self._unpacked / digest
        if digest not in self._unpacked_sizes and folder.exists():
            self._unpacked_sizes[digest] = _size(folder)
        return self._unpacked_sizes.get(digest, 0) + _size(self._archive(digest))

    def _last_use(self, digest: str) -> float:
        return max(_last_change(self._unpacked / digest), _last_change(self._archive(digest)))

    def _evict(self, digest: str) -> bool:
        """Remove a package, unless somebody uses it."""
        path = self._locks / digest
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if not _is_file(lock, path):
                return False
            self._unpacked_sizes.pop(digest, None)
            with self._workplace("") as place:
                if (self._unpacked / digest).exists():
                    (self._unpacked / digest).rename(place)
                self._archive(digest).unlink(missing_ok=True)
                self._unpack_lock(digest).unlink(missing_ok=True)
                path.unlink()
            return True
        finally:
            os.close(lock)

    def _sweep(self) -> None:
        oldest = time.time() - _ABANDONED
        for place in self._partial.iterdir():
            if _last_change(place) < oldest:
                _remove(place)


def _digest(uri: str) -> str:
    digest = uri.removeprefix(SCHEME)
    if digest == uri or len(digest) != hashlib.sha256().digest_size * 2 or set(digest) - set("0123456789abcdef"):
        raise ValueError(f"{uri!r} is not the URI of a package: {SCHEME} and 64 hexadecimal digits.")
    return digest


def _extract(archive: zipfile.ZipFile, folder: Path, limit: int) -> None:
    """Unpack, refusing names that lead out of the folder and content beyond `limit` bytes."""
    left = limit
    for info in archive.infolist():
        name = PurePosixPath(info.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in info.filename:
            raise ValueError(f"the archive holds the unsafe name {info.filename!r}")
        target = folder / name
        if info.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as packed, target.open("wb") as unpacked:
            while chunk := packed.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise ValueError(f"it holds more than the store's quota of {limit} bytes")
                unpacked.write(chunk)
        if (info.external_attr >> 16) & stat.S_IXUSR:
            target.chmod(0o755)


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 for what has just gone."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        return sum(_size(inner) for inner in path.iterdir())
    except FileNotFoundError:
        return 0


def _last_change(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
