"""Which processes share a kernel, a file system and a process table, and so can use Unix sockets and shared memory."""

import hashlib
import os
import platform
import uuid
from functools import cache
from pathlib import Path

_ID_DIGITS = 32
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")
_NAMESPACES = ("mnt", "pid", "user")


@cache
def host_id() -> str:
    """32 hexadecimal digits, equal for two processes only if they share the three; see `ProcessAddress.host_id`.

    Containers of one kernel differ by their mount or process namespace. Virtual machines cloned while they run may
    share all that is looked at but their name; the missing socket then tells them apart.
    """
    facts = [platform.node(), _text(_BOOT_ID), _text(_MACHINE_ID)]
    facts += [_link(f"/proc/self/ns/{namespace}") for namespace in _NAMESPACES]
    if not any(facts[1:]):  # not Linux: containers do not exist here, and the hardware tells machines apart
        facts.append(f"{uuid.getnode():x}")
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:_ID_DIGITS]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - it names no file
    except OSError:
        return ""
