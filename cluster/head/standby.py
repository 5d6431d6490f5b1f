"""What answers in a process that stands by for the head."""

import asyncio
from collections.abc import Callable
from typing import Any

from ...actors.contract import HEAD
from ...actors.serialization import serialize_error
from ...exceptions import RaySystemError
from ..system_process import Arrived, SystemActor


class Standby(SystemActor):
    """Sends everybody on to the head.

    Args:
        leader: where the head is.
    """

    name = HEAD

    def __init__(self, leader: Callable[[], str]) -> None:
        super().__init__(asyncio.get_running_loop())
        self._leader = leader

    def on_receive(self, message: Any) -> None:
        """Refuse a call."""
        match message:
            case Arrived(channel, call) if call.call_id:
                told = RaySystemError(f"This head stands by; the one that leads is at {self._leader()}: ask that.")
                channel.reply(call.call_id, serialize_error(told), failed=True)
            case _:
                pass
