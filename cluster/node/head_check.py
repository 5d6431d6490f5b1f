"""Whether what answers at the head's address is a head that this node can join. Free of I/O and clocks."""

import os
import platform
from collections.abc import Mapping

from ...transport.error import ConnectError
from ...transport.version import VERSION

_CLOCK_S = 60.0
"""Clocks that differ by more make logs and timelines of several nodes hard to read together."""


class WrongHeadError(ConnectError):
    """What answers at the head's address is no head that this node can join; says why, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, final=True)


def about_this_process(kind: str, session: str, *, is_head: bool) -> dict[str, str]:
    """What a system process tells those that connect to it; nodes join only where the head is."""
    return {
        "kind": kind,
        "head": "yes" if is_head else "no",
        "pid": str(os.getpid()),
        "version": VERSION,
        "python": platform.python_version(),
        "session": session,
    }


def check_head(told: Mapping[str, str], where: str, *, session: str, term: int, any_python: bool) -> str:
    """See that a node can join there.

    Args:
        told: what the process there says of itself; see `about_this_process`.
        where: its address.
        session: that the node is part of already; "": of none.
        term: of the head that it followed last.
        any_python: the head's minor version of Python may be another.

    Returns:
        What the node's user should know; "" where all is as it should be.

    Raises:
        WrongHeadError: it is no head, was replaced, or is of another version.
    """
    if told.get("head") != "yes":
        raise WrongHeadError(
            f"At {where} answers a {told.get('kind', 'process')} of this cluster, and not its head. "
            "`cluster status` on the head's machine says what the head's address is."
        )
    if session == told.get("session", "") and int(told.get("term", "0")) < term:
        raise WrongHeadError(f"The head at {where} was replaced by another, and has not noticed yet.")
    version, python = told.get("version", ""), told.get("python", "")
    if version != VERSION:
        raise WrongHeadError(
            f"The head at {where} runs Limelight {version}, this node {VERSION}: install the same version on both."
        )
    own = platform.python_version()
    if python.split(".")[:2] != own.split(".")[:2] and not any_python:
        raise WrongHeadError(
            f"The head at {where} runs Python {python}, this node Python {own}: functions and objects of one "
            "often fail in the other. Use the same minor version on both, or join with --any-python."
        )
    return "" if python == own else f"The head runs Python {python}, this node Python {own}."


def compare_clocks(asked: float, theirs: float, answered: float) -> str:
    """What a node's user should know of two clocks; "" where they agree.

    Args:
        asked: this machine's time when it asked, in seconds since the epoch.
        theirs: the head's time when it answered.
        answered: this machine's time when it heard that.
    """
    ahead = max(asked - theirs, theirs - answered)
    if ahead <= _CLOCK_S:
        return ""
    way = "ahead of" if asked > theirs else "behind"
    return (
        f"This machine's clock is {ahead:.0f} s {way} the head's: logs and timelines will not fit together. "
        "Have both machines keep time (with chrony, for example)."
    )
