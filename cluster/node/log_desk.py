"""A node's logs, read from elsewhere: in parts, and nothing but plain files of the session's folder for logs."""

import asyncio
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ...actors.contract import decoder_of
from ...actors.serialization import serialize_error
from ...exceptions import RaySystemError
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..job.job_message import ReadLog

if TYPE_CHECKING:
    from .manager import NodeManager

_MOST = 1 << 20
_LOOK_S = 0.1
"""How often a file is looked at that somebody follows."""


class LogDesk:
    """Part of the node manager; on its loop.

    Args:
        manager: that.
        folder: where the logs are.
    """

    def __init__(self, manager: "NodeManager", folder: Path) -> None:
        self._manager = manager
        self._folder = folder
        manager.methods |= {"ReadLog": self._on_read}

    def _on_read(self, channel: Channel, call: Call) -> None:
        self._manager.spawn(self._answer(channel, call))

    async def _answer(self, channel: Channel, call: Call) -> None:
        wanted: ReadLog = decoder_of(ReadLog).decode(call.body)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wanted.wait
        try:
            part = await asyncio.to_thread(read_log, self._folder, wanted)
            while not part and loop.time() < deadline:
                await asyncio.sleep(_LOOK_S)  # others write to the file, and nobody says when
                part = await asyncio.to_thread(read_log, self._folder, wanted)
        except (OSError, ValueError) as error:
            told = RaySystemError(f"The log {wanted.name} cannot be read: {error}")
            channel.reply(call.call_id, serialize_error(told), failed=True)
        else:
            channel.reply(call.call_id, part)


def read_log(folder: Path, wanted: ReadLog) -> bytes:
    """A part of a file in a folder; empty at its end.

    Raises:
        ValueError: the name leads out of the folder, or to what is no plain file.
        OSError: it cannot be read; FileNotFoundError where there is none.
    """
    name = wanted.name
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a log")
    descriptor = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{name!r} is no plain file")
        file.seek(max(0, wanted.offset))
        return file.read(min(max(0, wanted.size), _MOST))
