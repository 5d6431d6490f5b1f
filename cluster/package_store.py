"""The packages of runtime environments on one machine: stored once, unpacked once, kept while somebody uses them.

Several processes may share one root folder; see `HeldFolders`. Everything appears by `rename`: what is visible is
complete.

    <root>/archives/<digest>.zip    what was put
    <root>/unpacked/<digest>/       what is used
    <root>/locks/  <root>/partial/  as in `HeldFolders`
"""

import fcntl
import hashlib
import os
import shutil
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from ..actors.package import SCHEME, digest_of
from ..exceptions import RuntimeEnvSetupError
from .held_folder import HeldFolders, last_change, open_lock, size_of

DEFAULT_QUOTA = 10 * 1024**3
_CHUNK = 1 << 20


class PackageStore(HeldFolders):
    """Packages by URI ("pkg://<sha256>"). Thread-safe, and safe between processes. Methods block on the disk."""

    def __init__(self, root: Path, quota: int = DEFAULT_QUOTA) -> None:
        """Use the folder `root`, made if need be; remove unused packages when there are more than `quota` bytes."""
        self._archives = root / "archives"
        self._unpacked = root / "unpacked"
        for folder in (self._archives, self._unpacked):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._unpacked_sizes: dict[str, int] = {}
        super().__init__(root, quota)

    def has(self, uri: str) -> bool:
        """Whether the package was put here and is still here."""
        return self._archive(_digest(uri)).exists()

    def is_intact(self, uri: str) -> bool:
        """Whether the package is here and is what its name says; if it was damaged on the disk, it is removed."""
        path = self._archive(_digest(uri))
        try:
            with path.open("rb") as file:
                seen = os.fstat(file.fileno())
            if digest_of(path) == _digest(uri):
                return True
            if os.path.samestat(seen, path.stat()):  # else somebody has put it anew
                path.unlink()
        except FileNotFoundError:
            pass
        return False

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
        """Store an archive under its URI. Doing so again changes nothing, unless the first was damaged on the disk.

        Raises:
            ValueError: the content is not what the URI says: it was damaged on the way.
        """
        digest = _digest(uri)
        if self.is_intact(uri):
            return
        with self.workplace(".zip") as place:
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
        self.make_room(keep=digest)

    def acquire(self, uri: str) -> Path:
        """The folder the package is unpacked in; it stays until as many `release`s, or until the process ends.

        Raises:
            KeyError: the package is not here, or was damaged on the disk, and is not here any more; `put` it first.
            RuntimeEnvSetupError: it cannot be unpacked.
        """
        digest = _digest(uri)
        folder = self._unpacked / digest
        self.hold(digest)  # from the first look on, so that no eviction comes in between
        try:
            if not folder.exists():
                making = open_lock(self.making_lock(digest), fcntl.LOCK_EX)
                try:
                    if not folder.exists():
                        self._unpack(digest, uri)
                finally:
                    os.close(making)
                self.make_room()
        except BaseException:
            self.let_go(digest)
            raise
        os.utime(folder)  # "used last", for the eviction
        return folder

    def keep(self, uri: str) -> None:
        """Have a package stay, packed or not, whether it is here yet or not; until `release`."""
        self.hold(_digest(uri))

    def release(self, uri: str) -> None:
        """Undo one `acquire` or `keep`. The folder stays until its room is needed.

        Raises:
            KeyError: it is not acquired.
        """
        self.let_go(_digest(uri))
        self.make_room()

    def _unpack(self, digest: str, uri: str) -> None:
        archive = self._archive(digest)
        if not archive.exists():
            raise KeyError(uri)
        with self.workplace() as place:
            place.mkdir()
            try:
                with zipfile.ZipFile(archive) as opened:
                    extract(opened, place, self._quota)
            except Exception as exc:  # whatever an archive makes of its reader
                if not self.is_intact(uri):
                    raise KeyError(uri) from exc
                raise RuntimeEnvSetupError(f"The package {uri} cannot be unpacked in {self._unpacked}: {exc}") from exc
            place.rename(self._unpacked / digest)

    def _archive(self, digest: str) -> Path:
        return self._archives / f"{digest}.zip"

    def _names(self) -> Iterable[str]:
        return {
            path.name.removesuffix(".zip") for folder in (self._unpacked, self._archives) for path in folder.iterdir()
        }

    def _size(self, name: str) -> int:
        folder = self._unpacked / name
        if name not in self._unpacked_sizes and folder.exists():
            self._unpacked_sizes[name] = size_of(folder)
        return self._unpacked_sizes.get(name, 0) + size_of(self._archive(name))

    def _last_use(self, name: str) -> float:
        return max(last_change(self._unpacked / name), last_change(self._archive(name)))

    def _remove(self, name: str) -> None:
        self._unpacked_sizes.pop(name, None)
        with self.workplace() as place:
            if (self._unpacked / name).exists():
                (self._unpacked / name).rename(place)
            self._archive(name).unlink(missing_ok=True)


def _digest(uri: str) -> str:
    digest = uri.removeprefix(SCHEME)
    if digest == uri or len(digest) != hashlib.sha256().digest_size * 2 or set(digest) - set("0123456789abcdef"):
        raise ValueError(f"{uri!r} is not the URI of a package: {SCHEME} and 64 hexadecimal digits.")
    return digest


def within(folder: Path, member: str) -> Path:
    """Where a member of an archive goes.

    Raises:
        ValueError: its name leads out of the folder.
    """
    name = PurePosixPath(member)
    if name.is_absolute() or ".." in name.parts or "\\" in member:
        raise ValueError(f"the archive holds the unsafe name {member!r}")
    return folder / name


def extract(archive: zipfile.ZipFile, folder: Path, limit: int) -> None:
    """Unpack, refusing names that lead out of the folder and content beyond `limit` bytes."""
    left = limit
    for info in archive.infolist():
        target = within(folder, info.filename)
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
