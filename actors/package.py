"""Folders and files as packages: zip archives named by their content.

The same content always makes the same archive (sorted names, fixed times), so that a package is sent and unpacked once.
"""

import contextlib
import errno
import hashlib
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from .ignore import IgnoreRules

SCHEME = "pkg://"
MAX_BYTES = 500 * 1024 * 1024
"""What a package may hold, before compression, as in Ray."""

DEFAULT_EXCLUDES = (".git", ".venv", "venv", "__pycache__")
_IGNORE_FILES = (".gitignore", ".rayignore")
_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
_CHUNK = 1 << 20
_ALLOWED = "the {} a runtime environment may ship"


class Package(NamedTuple):
    """An archive that was made.

    Attributes:
        uri: "pkg://" and the SHA-256 of the archive in hexadecimal.
        path: the archive.
        size: its bytes.
    """

    uri: str
    path: Path
    size: int


class _Entry(NamedTuple):
    name: str
    path: Path
    size: int
    mode: int


def build_package(
    source: Path, into: Path, *, excludes: Sequence[str] = (), keep_name: bool = False, limit: int = MAX_BYTES
) -> Package:
    """Make a package of a folder, of one file, or of an archive (.zip, .whl), which is taken as it is.

    Left out are what `excludes` and the .gitignore and .rayignore files of the folder say, and .git, .venv, venv and
    __pycache__; an exclude that starts with "!" takes something in again. Symbolic links are followed. What goes while
    the folder is read is left out, and of a file that grows there is what was read.

    Args:
        source: the folder or file.
        into: a folder for the archive.
        excludes: patterns in the language of .gitignore, relative to `source`.
        keep_name: put the folder itself into the archive, rather than what is in it: so with Python packages.
        limit: most bytes the content may have; of an archive, its own bytes.

    Raises:
        ValueError: the content is larger than `limit`, and the message names the largest folders; or a file's name is
            none that an archive can hold.
        OSError: something could not be read.
    """
    if source.suffix in {".zip", ".whl"} and source.is_file():
        if source.stat().st_size > limit:
            raise ValueError(f"{source} has {_mib(source.stat().st_size)}, more than {_ALLOWED.format(_mib(limit))}.")
        return _package(source)
    entries = list(_entries(source, excludes))
    total = sum(entry.size for entry in entries)
    if total > limit:
        raise ValueError(_too_large(source, entries, total, limit))
    name = source.resolve().name if source.name == ".." else source.name
    prefix = f"{name}/" if keep_name and name and source.is_dir() else ""
    unnamed = into / f".{os.getpid()}-{os.urandom(8).hex()}.zip"
    try:
        with zipfile.ZipFile(unnamed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            left = limit
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile, as temporary files are
                    left -= _write(archive, prefix, entry, left)
                if left < 0:
                    raise ValueError(
                        f"{entry.path} grows while it is read, and {source} beyond {_ALLOWED.format(_mib(limit))}. "
                        "Leave out what is written to with runtime_env={'excludes': [...]}."
                    )
        made = _package(unnamed)
        path = into / f"{made.uri.removeprefix(SCHEME)}.zip"
        unnamed.replace(path)
    finally:
        unnamed.unlink(missing_ok=True)
    return made._replace(path=path)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package(path: Path) -> Package:
    return Package(SCHEME + digest_of(path), path, path.stat().st_size)


def _entries(source: Path, excludes: Sequence[str]) -> Generator[_Entry]:
    if source.is_file():
        yield _entry(source.name, source, source.stat())
        return
    rules = IgnoreRules().extended(DEFAULT_EXCLUDES)
    yield from _walk(source, "", rules, excludes, frozenset())


def _walk(
    folder: Path, name: str, rules: IgnoreRules, excludes: Sequence[str], above: frozenset[tuple[int, int]]
) -> Generator[_Entry]:
    try:
        here, found = folder.stat(), sorted(folder.iterdir(), key=lambda path: path.name)
    except FileNotFoundError:
        if not name:
            raise
        return  # removed meanwhile
    identity = (here.st_dev, here.st_ino)
    if identity in above:  # a link to a folder that it lies in
        return
    for ignore_file in _IGNORE_FILES:
        if (folder / ignore_file).is_file():
            rules = rules.extended((folder / ignore_file).read_text(errors="replace").splitlines(), name)
    for inner, path, status in _wanted(found, name, rules.extended(excludes)):
        if stat.S_ISDIR(status.st_mode):
            yield _Entry(f"{inner}/", path, 0, 0o755)
            yield from _walk(path, inner, rules, excludes, above | {identity})
        else:
            yield _entry(inner, path, status)


def _wanted(found: Sequence[Path], name: str, rules: IgnoreRules) -> Generator[tuple[str, Path, os.stat_result]]:
    """What of a folder's content, the folder's name being `name`, belongs into the archive."""
    for path in found:
        try:
            status = path.stat()
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
            continue  # removed meanwhile, or a link that leads nowhere
        inner = f"{name}/{path.name}" if name else path.name
        is_folder = stat.S_ISDIR(status.st_mode)
        if (is_folder or stat.S_ISREG(status.st_mode)) and not rules.ignores(inner, is_folder):
            _want_name(path)
            yield inner, path, status


def _want_name(path: Path) -> None:
    """Refuse here, where its user sees it, what every node would refuse to unpack."""
    if "\\" in path.name or _is_undecodable(path.name):
        raise ValueError(
            f"The file name {str(path)!r} cannot be put into a package: it has a backslash, or is no UTF-8. Rename the "
            "file, or leave it out with runtime_env={'excludes': [...]}."
        )


def _is_undecodable(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _entry(name: str, path: Path, status: os.stat_result) -> _Entry:
    return _Entry(name, path, status.st_size, 0o755 if status.st_mode & stat.S_IXUSR else 0o644)


def _write(archive: zipfile.ZipFile, prefix: str, entry: _Entry, most: int) -> int:
    """Put one entry into an archive; returns its bytes: at most a chunk more than `most`."""
    info = zipfile.ZipInfo(prefix + entry.name, _FIRST_DAY)
    info.create_system = 3  # Unix, whatever makes it: the modes below are Unix's
    if entry.name.endswith("/"):
        info.external_attr = (stat.S_IFDIR | entry.mode) << 16
        archive.writestr(info, b"")
        return 0
    info.external_attr = (stat.S_IFREG | entry.mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    size = 0
    with entry.path.open("rb") as content, archive.open(info, "w") as written:
        while size <= most and (chunk := content.read(_CHUNK)):
            size += len(chunk)
            written.write(chunk)
    return size


def _too_large(source: Path, entries: list[_Entry], total: int, limit: int) -> str:
    sizes: Counter[str] = Counter()
    for entry in entries:
        top, _, rest = entry.name.partition("/")
        sizes[f"{top}/" if rest else top] += entry.size
    largest = ", ".join(f"{name} ({_mib(size)})" for name, size in sizes.most_common(5))
    return (
        f"{source} holds {_mib(total)}, more than {_ALLOWED.format(_mib(limit))}. "
        f"The largest in it: {largest}. Leave out what the tasks do not read with "
        "runtime_env={'excludes': [...]} or a .gitignore or .rayignore file, and read data from where it lies."
    )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
