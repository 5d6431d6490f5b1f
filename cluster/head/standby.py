"""What answers in a process that stands by for the head."""

import asyncio
from collections.abc import Callable
from typing import Any

from ...actors.contract import HEAD
from ...actors.serialization import serialize_error
from ...exceptions import RaySystemError
from ..cluster_message import EndCluster
from ..system_process import Arrived, SystemActor


class Standby(SystemActor):
    """Sends everybody on to the head, and ends with the cluster.

    Args:
        leader: where the head is.
        over: called when the head says that the cluster is over.
    """

    name = HEAD

    def __init__(self, leader: Callable[[], str], over: Callable[[], None]) -> None:
        super().__init__(asyncio.get_running_loop())
        self._leader = leader
        self._over = over

    def on_receive(self, message: Any) -> None:
        """Refuse a call. What comes without a question comes from the head."""
        match message:
            case Arrived(_, call) if call.method == EndCluster.__name__ and not call.call_id:
                self._over()
            case Arrived(channel, call) if call.call_id:
                told = RaySystemError(f"This head stands by; the one that leads is at {self._leader()}: ask that.")
                channel.reply(call.call_id, serialize_error(told), failed=True)
            case _:
                pass
