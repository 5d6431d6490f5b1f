"""Which sessions live, and what the dead ones have left.

A lock dies with its process however that ends, so a folder whose lock is free is stale, and the next start removes it.
What is to go is first renamed to a hidden name, so that a folder is a session's with all that is in it, or none's.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .session_info import read_info, sessions_folder

UNFINISHED = ".new-"
"""What the names of folders begin with that are being made."""
_GONE = ".gone-"
_UNFINISHED_SECONDS = 60.0


def current_session(base: Path | None = None) -> Path | None:
    """The folder of the session that address="auto" means: the current one, if it lives."""
    base = base or sessions_folder()
    try:
        path = base / (base / "current").readlink()
    except OSError:
        return None
    return path if is_live(path) else None


def live_sessions(base: Path | None = None) -> list[Path]:
    """The folders of all this user's live sessions, oldest first."""
    return [path for path in _session_folders(base or sessions_folder()) if is_live(path)]


def remove_stale(base: Path) -> None:
    """Remove the folders of sessions whose node process is dead. Safe beside others that do the same."""
    for path in _session_folders(base):
        _remove_if_stale(path)
    for path in base.glob(UNFINISHED + "*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
    for path in base.glob(_GONE + "*"):
        shutil.rmtree(path, ignore_errors=True)


def remove_dead(path: Path) -> None:
    """Remove a session's folder when its node process is dead, and with the last one the folder they lie in."""
    _remove_if_stale(path)
    with suppress(OSError):  # not there, or not empty: other sessions live
        path.parent.rmdir()


def remove_of(pid: int, base: Path | None = None) -> None:
    """Remove what a dead process has made of a session, however far it had come; also where nobody else knows of it.

    Raises:
        SessionFolderError: see `sessions_folder`.
    """
    base = base or sessions_folder()
    for unfinished in base.glob(f"{UNFINISHED}{pid}-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    for path in _session_folders(base):
        info = read_info(path)
        if info is not None and info.pid == pid:
            _remove_if_stale(path)
    with suppress(OSError):  # as in `remove_dead`
        base.rmdir()


def _remove_if_stale(path: Path) -> None:
    descriptor = _take_lock(path)
    if descriptor is not None:
        remove_folder(path)
        os.close(descriptor)


def remove_folder(path: Path) -> None:
    """Remove a session's folder, whose lock this process holds."""
    _forget_current(path)
    gone = path.with_name(_GONE + path.name)
    with suppress(OSError):  # it is gone already, or nothing can be renamed there: then as it is
        path.rename(gone)
        path = gone
    # ignore_errors: a worker that is about to die may still make a file; the next start then removes the rest.
    shutil.rmtree(path, ignore_errors=True)


def _forget_current(path: Path) -> None:
    """Have address="auto" mean that session no more."""
    with suppress(OSError):
        if (path.parent / "current").readlink() == Path(path.name):
            (path.parent / "current").unlink()


def _session_folders(base: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from sorted(
            path
            for path in base.iterdir()
            if not path.name.startswith(".") and not path.is_symlink() and (path / "lock").is_file()
        )


def is_live(path: Path) -> bool:
    """Whether a session's process lives, all threads of it: somebody holds its lock."""
    if not (path / "lock").is_file():
        return False
    descriptor = _take_lock(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _take_lock(path: Path) -> int | None:
    """The lock of a session that nobody holds; None when somebody does, or it is gone."""
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
