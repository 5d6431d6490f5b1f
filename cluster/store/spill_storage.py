"""Where objects go when memory runs short: a folder, or whatever fsspec reaches.

A spilled object is one file: a header (magic, size, CRC-32 of the rest) and the object's bytes as they lay in memory.
All methods block; the store calls them in threads. CRC and file I/O release the GIL.
"""

import contextlib
import struct
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from .error import SpilledObjectLostError, SpillStorageError

_header = struct.Struct("<8sQI12x")
_MAGIC = b"LLSPILL1"
_CHUNK = 4 << 20


class SpillStorage(ABC):
    """Keeps spilled objects. Thread-safe."""

    @abstractmethod
    def write(self, name: str, content: memoryview) -> str:
        """Keep `content` under `name`; returns the URL for the other methods. Either all of it is kept, or nothing.

        Raises:
            SpillStorageError: the storage is full or out of reach.
        """

    @abstractmethod
    def read(self, url: str, into: memoryview) -> None:
        """Copy what `write` kept into `into`, which has its size.

        Raises:
            SpilledObjectLostError: it is not there, or damaged.
            SpillStorageError: the storage is out of reach, or this process has no descriptor left.
        """

    @abstractmethod
    def delete(self, url: str) -> None:
        """Delete it; no error where it is not there.

        Raises:
            SpillStorageError: the storage is out of reach.
        """

    @abstractmethod
    def clear(self) -> None:
        """Delete everything that was written through this object, also what a crash left behind."""


class DirectoryStorage(SpillStorage):
    """Spilled objects as files of one folder, which must be used for nothing else; `clear` deletes it."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SpillStorageError(f"Cannot make the folder {directory} for spilled objects: {error}") from error

    def write(self, name: str, content: memoryview) -> str:
        """Keep `content` under `name`."""
        final = self._directory / name
        partial = self._directory / (name + ".part")
        try:
            with partial.open("xb", buffering=0) as file:
                _write_all(file, _header.pack(_MAGIC, content.nbytes, 0))
                crc = 0
                for chunk in _chunks(content):
                    crc = zlib.crc32(chunk, crc)
                    _write_all(file, chunk)
                file.seek(0)
                _write_all(file, _header.pack(_MAGIC, content.nbytes, crc))
            partial.replace(final)
        except OSError as error:
            with contextlib.suppress(OSError):  # of a file system that has become read-only, for example
                partial.unlink(missing_ok=True)
            raise SpillStorageError(f"Cannot write {content.nbytes} bytes to {final}: {error}") from error
        return str(final)

    def read(self, url: str, into: memoryview) -> None:
        """Copy a file into `into`."""
        try:
            with Path(url).open("rb", buffering=0) as file:
                _read_checked(file, url, into)
        except FileNotFoundError as error:
            raise SpilledObjectLostError(f"Cannot read the spilled object {url}: {error}") from error
        except OSError as error:
            raise SpillStorageError(f"Cannot read the spilled object {url}: {error}") from error

    def delete(self, url: str) -> None:
        """Delete a file."""
        try:
            Path(url).unlink(missing_ok=True)
        except OSError as error:
            raise SpillStorageError(f"Cannot delete the spilled object {url}: {error}") from error

    def clear(self) -> None:
        """Delete the folder."""
        try:
            for file in self._directory.iterdir():
                file.unlink(missing_ok=True)
            self._directory.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            raise SpillStorageError(f"Cannot delete the spilled objects in {self._directory}: {error}") from error


class FsspecStorage(SpillStorage):
    """Spilled objects in any file system that fsspec knows; `url` names a folder used for nothing else.

    Args:
        url: for example "s3://bucket/prefix". Give each session a prefix of its own.

    Raises:
        SpillStorageError: fsspec or the file system's own package is not installed, or the folder cannot be made.
    """

    def __init__(self, url: str) -> None:
        try:
            import fsspec  # pyright: ignore[reportMissingTypeStubs] # an optional package without types
        except ImportError as error:
            raise SpillStorageError(
                f"Spilling to {url} needs fsspec, which is not installed: pip install 'limelight[data]'."
            ) from error
        try:
            self._fs, self._folder = fsspec.core.url_to_fs(url)
            self._fs.makedirs(self._folder, exist_ok=True)
        except Exception as error:
            raise SpillStorageError(f"Cannot use {url} for spilled objects: {error}") from error

    def write(self, name: str, content: memoryview) -> str:
        """Keep `content` under `name`."""
        path = f"{self._folder}/{name}"
        crc = 0
        for chunk in _chunks(content):
            crc = zlib.crc32(chunk, crc)
        try:
            with self._fs.open(path, "wb") as file:
                file.write(_header.pack(_MAGIC, content.nbytes, crc))
                for chunk in _chunks(content):
                    file.write(bytes(chunk))
        except Exception as error:
            raise SpillStorageError(f"Cannot write {content.nbytes} bytes to {path}: {error}") from error
        return path

    def read(self, url: str, into: memoryview) -> None:
        """Copy a file into `into`."""
        try:
            with self._fs.open(url, "rb") as file:
                _read_checked(file, url, into)
        except SpillStorageError:
            raise
        except FileNotFoundError as error:
            raise SpilledObjectLostError(f"Cannot read the spilled object {url}: {error}") from error
        except Exception as error:
            raise SpillStorageError(f"Cannot read the spilled object {url}: {error}") from error

    def delete(self, url: str) -> None:
        """Delete a file."""
        try:
            self._fs.rm_file(url)
        except FileNotFoundError:
            return
        except Exception as error:
            raise SpillStorageError(f"Cannot delete the spilled object {url}: {error}") from error

    def clear(self) -> None:
        """Delete the folder."""
        try:
            self._fs.rm(self._folder, recursive=True)
        except FileNotFoundError:
            return
        except Exception as error:
            raise SpillStorageError(f"Cannot delete the spilled objects in {self._folder}: {error}") from error


def open_spill_storage(url: str) -> SpillStorage:
    """The storage at `url`: a folder's path, a "file://" URL, or any URL that fsspec knows.

    Raises:
        SpillStorageError: it cannot be used.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return DirectoryStorage(url)
    return DirectoryStorage(rest) if scheme == "file" else FsspecStorage(url)


def _chunks(content: memoryview) -> "list[memoryview]":
    return [content[start : start + _CHUNK] for start in range(0, content.nbytes, _CHUNK)]


def _write_all(file: Any, content: "bytes | memoryview") -> None:
    """An unbuffered file may take less than it is given, as when the disk is nearly full."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _read_checked(file: Any, url: str, into: memoryview) -> None:
    magic, size, crc = _header.unpack(_read_exactly(file, url, _header.size))
    if magic != _MAGIC or size != into.nbytes:
        raise SpilledObjectLostError(
            f"{url} is not the spilled object that was written there: expected {into.nbytes} bytes."
        )
    found = 0
    for chunk in _chunks(into):
        filled = 0
        while filled < chunk.nbytes:
            count = file.readinto(chunk[filled:])
            if not count:
                raise SpilledObjectLostError(f"The spilled object {url} is cut short.")
            filled += count
        found = zlib.crc32(chunk, found)
    if found != crc:
        raise SpilledObjectLostError(f"The spilled object {url} is damaged: its checksum does not match.")


def _read_exactly(file: Any, url: str, size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise SpilledObjectLostError(f"The spilled object {url} is cut short.")
    return content
