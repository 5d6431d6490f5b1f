"""Where sessions lie, and what the folder of one says of it to those who look for it; see `session_folder.py`."""

import os
import stat
import sys
import tempfile
from pathlib import Path

import msgspec

from ..transport.address import ProcessAddress
from ..transport.tls import TlsConfig

LONGEST_SOCKET_NAME = 40
"""Socket names in `sockets/` may be this long, in bytes: a process id of 32 digits and a suffix."""

TEMPORARY_FOLDER_VARIABLE = "LIMELIGHT_TMPDIR"

# sizeof(sockaddr_un.sun_path) without the final NUL: unix(7), and <sys/un.h> of the BSDs.
_LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103


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


def _room_left(base: Path) -> int:
    """How many bytes the longest socket path stays below the limit."""
    longest = base / "MMDD-HHMMSS-0000" / "sockets" / ("x" * LONGEST_SOCKET_NAME)
    return _LONGEST_SOCKET_PATH - len(os.fsencode(longest))


def _room_for_sockets(base: Path) -> bool:
    return _room_left(base) >= 0
