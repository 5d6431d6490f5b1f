"""The cluster's secret on one machine: made at the first start, kept for the user alone, handed to those who join.

It is looked for in this order: LIMELIGHT_TOKEN, the file that LIMELIGHT_TOKEN_FILE names, ~/.limelight/token.
"""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import IO

TOKEN_VARIABLE = "LIMELIGHT_TOKEN"  # noqa: S105 - a name, not a secret
FILE_VARIABLE = "LIMELIGHT_TOKEN_FILE"
_BYTES = 32


class TokenError(ValueError):
    """There is no usable token; the message says where it was looked for and what to do."""


def token_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the token is kept."""
    chosen = environment.get(FILE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".limelight" / "token"


def token_source(environment: Mapping[str, str] = os.environ) -> str:
    """Where `find_token` looks, for people."""
    if environment.get(TOKEN_VARIABLE):
        return f"the environment variable {TOKEN_VARIABLE}"
    return str(token_path(environment))


def find_token(environment: Mapping[str, str] = os.environ) -> str | None:
    """The token, in hexadecimal; None where there is none yet.

    Raises:
        TokenError: what is there is no token, or others can read it.
    """
    given = environment.get(TOKEN_VARIABLE)
    if given:
        return check_token(given.strip(), token_source(environment))
    path = token_path(environment)
    try:
        with path.open("rb") as file:
            return _private_token(file, path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TokenError(
            f"The cluster's token in {path} cannot be read: {error.strerror}. Is that the right file, and yours? "
            f"{FILE_VARIABLE} names another, and {TOKEN_VARIABLE}=… before the command stands for one."
        ) from error


def _private_token(file: IO[bytes], path: Path) -> str:
    status = os.fstat(file.fileno())
    if status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise TokenError(
            f"The cluster's token in {path} is not private (owner {status.st_uid}, mode "
            f"{stat.filemode(status.st_mode)}). If nobody else can have read it, type: chmod 600 {path}"
        )
    return check_token(file.read().decode(errors="replace").strip(), str(path))


def make_token(environment: Mapping[str, str] = os.environ) -> str:
    """The token there is, or a new one, kept for the next time. Safe beside others that do the same.

    Raises:
        TokenError: as `find_token`; or it cannot be written.
    """
    if found := find_token(environment):
        return found
    path, token = token_path(environment), secrets.token_hex(_BYTES)
    try:
        kept = write_token(path, token, replace=False)
    except OSError as error:
        raise TokenError(
            f"The cluster's token cannot be kept in {path}: {error.strerror}. {FILE_VARIABLE} names another place."
        ) from error
    return token if kept else find_token({FILE_VARIABLE: str(path)}) or token


def write_token(path: Path, token: str, *, replace: bool = True) -> bool:
    """Write a token into a file that only this user reads, whole or not at all; False where one is there and stays.

    Raises:
        OSError: it cannot be written.
    """
    new = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(token + "\n")
        if replace:
            new.replace(path)
        else:
            os.link(new, path)  # never over another's
    except FileExistsError:
        return False
    finally:
        new.unlink(missing_ok=True)
    return True


def check_token(token: str, source: str) -> str:
    """The token, if it is one.

    Raises:
        TokenError: it is not.
    """
    if len(token) == 2 * _BYTES and all(digit in "0123456789abcdef" for digit in token):
        return token
    raise TokenError(
        f"What stands in {source} is no token of a cluster: that has {2 * _BYTES} hexadecimal digits (0 to 9, a "
        f"to f), and this has {len(token)} characters. `cluster token` on the head's machine prints it."
    )
