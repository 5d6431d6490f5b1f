"""Functions and classes that capture too much: every worker that runs them gets a copy of its own."""

import logging
from typing import Any

from ...exceptions.death import format_bytes
from ..pickling.anatomy import parts
from ..serialization import serialize

LARGE = 10 << 20
"""From this size in bytes on, capturing a variable is worth a warning."""
MOST = 95 << 20
"""Code above this size in bytes is refused; a message has room for little more."""

logger = logging.getLogger("limelight")


def check_code_size(target: Any, name: str, size: int) -> None:
    """Warn of code that is large, and name what makes it so.

    Args:
        target: the function or class.
        name: what it is, for people: "the function f".
        size: of its pickle, in bytes.

    Raises:
        ValueError: it is too large to be sent.
    """
    if size < LARGE:
        return
    told = (
        f"{name[0].upper()}{name[1:]} is {format_bytes(size)} large{_largest(target)}. Every worker that runs it gets "
        "a copy: store large values once with limelight.put(), and pass the ref as an argument."
    )
    if size > MOST:
        raise ValueError(f"{told} The limit is {format_bytes(MOST)}.")
    logger.warning(told)


def _largest(target: Any) -> str:
    """The part of the code that has the most bytes, as ": x, a global variable used by f, has 12 MiB"."""
    most, told = 0, ""
    for step, value, origin in parts(target):
        try:
            size = serialize(value).size
        except Exception:  # noqa: BLE001, S112 - by itself it cannot be pickled, so it is not what was found large
            continue
        if size > most:
            most, told = size, f": {step.lstrip('.')}{f', {origin},' if origin else ''} has {format_bytes(size)}"
    return told
