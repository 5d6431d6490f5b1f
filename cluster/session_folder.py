"""The folder of a session: its sockets, logs, token and what others need to find it. Private, and gone afterwards.

    <temporary folder>/limelight-<user id>/
        current -> 1123-035715-9f2c          the session that address="auto" means
        1123-035715-9f2c/
            lock                             held (flock) by the node process for as long as it lives
            session.json                     a SessionInfo
            token                            the cluster's secret, mode 0600
            sockets/  logs/

A lock dies with its process however that ends, so a folder whose lock is free is stale, and the next start removes it.
What is to go is first renamed to a hidden name, so that a folder is a session's with all that is in it, or none's.
"""

import fcntl
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from ..transport.address import ProcessAddress
from ..transport.tls import TlsConfig

LONGEST_SOCKET_NAME = 40
"""Socket names in `sockets/` may be this long, in bytes: a process id of 32 digits and a suffix."""

TEMPORARY_FOLDER_VARIABLE = "LIMELIGHT_TMPDIR"

# sizeof(sockaddr_un.sun_path) without the final NUL: unix(7), and <sys/un.h> of the BSDs.
_LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103
_UNFINISHED = ".new-"
_GONE = ".gone-"
_UNFINISHED_SECONDS = 60.0
_TOKEN_BYTES = 32
_ATTEMPTS = 5


class SessionInfo(msgspec.Struct, frozen=True):
    """What session.json says.

    Attributes:
        name: the session's, also its folder's.
        version: of Limelight.
        pid: the node process.
        driver_pid: the process that started it; 0 for a cluster started by command.
        started: Unix time.
        address: what `init(address=...)` takes to reach the session's head; "" until it listens, and where it is not.
        node: the node process; None until it listens.
        tls: certificates that a driver shows to other hosts.
        kind: "head" for a head in a process of its own, "node" for a node that joined such a one, and "session" for
            what a program has started, or what does not serve yet.
    """

    name: str
    version: str
    pid: int
    driver_pid: int
    started: float
    address: str = ""
    node: ProcessAddress | None = None
    tls: TlsConfig | None = None
    kind: str = "session"


class SessionFolderError(OSError):
    """A session's folder can not be made or used; the message says what to change."""


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
        unfinished = base / f"{_UNFINISHED}{info.pid}-{info.name}"
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
        _remove(self.path)
        lock, self._lock = self._lock, -1
        os.close(lock)
        with suppress(OSError):  # not empty: other sessions live
            self.path.parent.rmdir()


def sessions_folder() -> Path:
    """Where this user's sessions lie: LIMELIGHT_TMPDIR or the temporary folder, and /tmp where that path is too long.

    Raises:
        SessionFolderError: LIMELIGHT_TMPDIR is too long for Unix sockets, and so is everything else.
    """
    own = f"limelight-{os.getuid()}"
    chosen = os.environ.get(TEMPORARY_FOLDER_VARIABLE)
    candidates = [Path(chosen)] if chosen else [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 - made private
    for candidate in candidates:
        if _room_for_sockets(candidate / own) and candidate.is_dir():
            return candidate / own
    problem = f"{candidates[0]} is not a folder"
    if candidates[0].is_dir():
        problem = (
            f"the path {candidates[0]} is {-_room_left(candidates[0] / own)} bytes too long for Unix sockets, "
            f"whose paths may have {_LONGEST_SOCKET_PATH} bytes"
        )
    raise SessionFolderError(
        f"No place for the session's files: {problem}. Set {TEMPORARY_FOLDER_VARIABLE} to a short one such as /tmp."
    )


def read_info(path: Path) -> SessionInfo | None:
    """The session.json of a session's folder; None when it is gone or not one."""
    try:
        return msgspec.json.decode((path / "session.json").read_bytes(), type=SessionInfo)
    except (OSError, msgspec.DecodeError):
        return None


def read_token(path: Path) -> str:
    """The cluster's secret from a session's folder.

    Raises:
        SessionFolderError: it can not be read, or others could read or replace it.
    """
    try:
        descriptor = os.open(path / "token", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, encoding="ascii") as file:
            status = os.fstat(descriptor)
            if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
                raise SessionFolderError(f"The token in {path} is not private: it must be yours, with mode 0600.")
            return file.read().strip()
    except OSError as error:
        if isinstance(error, SessionFolderError):
            raise
        raise SessionFolderError(error.errno, f"Could not read the session's token in {path}: {error}") from error


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
    for path in base.glob(_UNFINISHED + "*"):
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
    for unfinished in base.glob(f"{_UNFINISHED}{pid}-*"):
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
        _remove(path)
        os.close(descriptor)


def _remove(path: Path) -> None:
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


def _room_left(base: Path) -> int:
    """How many bytes the longest socket path stays below the limit."""
    longest = base / "MMDD-HHMMSS-0000" / "sockets" / ("x" * LONGEST_SOCKET_NAME)
    return _LONGEST_SOCKET_PATH - len(os.fsencode(longest))


def _room_for_sockets(base: Path) -> bool:
    return _room_left(base) >= 0
