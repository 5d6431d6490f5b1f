"""The folder of a session: its sockets, logs, token and what others need to find it. Private, and gone afterwards.

    <temporary folder>/limelight-<user id>/
        current -> 1123-035715-9f2c          the session that address="auto" means
        1123-035715-9f2c/
            lock                             held (flock) by the node process for as long as it lives
            session.json                     a SessionInfo
            token                            the cluster's secret, mode 0600
            sockets/  logs/

`session_info.py` reads it; `session_remains.py` knows which sessions live, and removes what dead ones have left.
"""

import fcntl
import os
import secrets
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from .session_info import (
    LONGEST_SOCKET_NAME,
    TEMPORARY_FOLDER_VARIABLE,
    SessionFolderError,
    SessionInfo,
    sessions_folder,
)
from .session_remains import UNFINISHED, remove_folder, remove_stale

_TOKEN_BYTES = 32
_ATTEMPTS = 5


class SessionFolder:
    """The folder of a live session, held by this process until `remove` or the process's end.

    Attributes:
        path: the folder.
        sockets: for Unix sockets, with names of at most `LONGEST_SOCKET_NAME` bytes.
        logs: for log files.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.sockets = path / "sockets"
        self.logs = path / "logs"
        self._lock = lock

    @classmethod
    def create(cls, version: str, driver_pid: int = 0, base: Path | None = None, log_folder: str = "") -> Self:
        """Make a new session's folder, after removing those of dead sessions.

        Args:
            version: of Limelight.
            driver_pid: see `SessionInfo`.
            base: where sessions lie; the default is `sessions_folder()`.
            log_folder: where the logs go, into a folder of their own that stays; "": into the session's folder.

        Raises:
            SessionFolderError: no usable place; the message says which variable to set.
        """
        base = base or sessions_folder()
        for attempt in range(_ATTEMPTS):
            _make_private(base)
            remove_stale(base)
            name = f"{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
            try:
                info = SessionInfo(name, version, os.getpid(), driver_pid, time.time())
                return cls._build(base, info, Path(log_folder).absolute() / name if log_folder else None)
            except FileNotFoundError:  # the last session before this one removed the base in between
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError

    @classmethod
    def _build(cls, base: Path, info: SessionInfo, logs: Path | None) -> Self:
        # Built under another name, so that whoever looks for stale sessions never sees it without its lock.
        unfinished = base / f"{UNFINISHED}{info.pid}-{info.name}"
        lock = -1
        try:
            unfinished.mkdir(mode=0o700)
            lock = os.open(unfinished / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (unfinished / "sockets").mkdir(mode=0o700)
            if logs is None:
                (unfinished / "logs").mkdir(mode=0o700)
            else:
                _make_log_folder(logs)
                (unfinished / "logs").symlink_to(logs)
            folder = cls(unfinished, lock)
            folder.write_info(info)
            folder.write_token(secrets.token_hex(_TOKEN_BYTES))
            unfinished.rename(base / info.name)
        except OSError as error:
            if lock >= 0:
                os.close(lock)
            shutil.rmtree(unfinished, ignore_errors=True)
            if isinstance(error, FileNotFoundError | SessionFolderError):
                raise
            raise SessionFolderError(error.errno, f"Could not make a session folder in {base}: {error}") from error
        return cls(base / info.name, lock)

    @property
    def name(self) -> str:
        """The session's name."""
        return self.path.name

    def socket_path(self, name: str) -> str:
        """The path for a Unix socket of that name.

        Raises:
            ValueError: the name is too long for the room that `create` made sure of.
        """
        if len(os.fsencode(name)) > LONGEST_SOCKET_NAME:
            raise ValueError(f"The socket name {name!r} is longer than {LONGEST_SOCKET_NAME} bytes.")
        return str(self.sockets / name)

    def write_info(self, info: SessionInfo) -> None:
        """Replace session.json; readers see the old or the new one, whole."""
        new = self.path / ".session.json"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(info)))
        new.replace(self.path / "session.json")

    def write_token(self, token: str) -> None:
        """Replace the cluster's secret: for a node that joins an existing cluster."""
        descriptor = os.open(self.path / ".token", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token)
        (self.path / ".token").replace(self.path / "token")

    def make_current(self) -> None:
        """Have address="auto" mean this session."""
        new = self.path / ".current"
        new.unlink(missing_ok=True)
        new.symlink_to(self.name)
        new.replace(self.path.parent / "current")

    def remove(self) -> None:
        """Remove the folder with all that is in it, and let go of the lock. Idempotent."""
        if self._lock < 0:
            return
        remove_folder(self.path)
        lock, self._lock = self._lock, -1
        os.close(lock)
        with suppress(OSError):  # not empty: other sessions live
            self.path.parent.rmdir()


def _make_log_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True)
    except OSError as error:
        problem = f"The folder for logs, {path}, cannot be made: {error.strerror}. Give another, or leave it out."
        raise SessionFolderError(problem) from error


def _make_private(base: Path) -> None:
    """Make the user's folder of sessions, or see that it is nobody else's."""
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = base.lstat()
    except OSError as error:
        raise SessionFolderError(
            error.errno,
            f"Could not make {base}: {error}. Set {TEMPORARY_FOLDER_VARIABLE} to a folder you can write to.",
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise SessionFolderError(
            f"{base} is not a private folder of yours (owner {status.st_uid}, mode {stat.filemode(status.st_mode)}): "
            f"somebody else may have made it. Remove it, or set {TEMPORARY_FOLDER_VARIABLE} to another folder."
        )
