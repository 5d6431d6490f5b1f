"""Threads that submit something wait while too much of this node waits for the head already."""

import threading
from typing import TYPE_CHECKING

from ...transport.channel import Channel
from ...transport.protocol import Call
from ..contract import HoldSubmissions, decoder_of
from .running import running

if TYPE_CHECKING:
    from .hub import Hub


class Holding:
    """Told by the node (`HoldSubmissions`), which keeps what the head has not answered.

    Only threads that create something wait here, never the wire thread: what the head needs to get on is said.
    """

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._may_go_on = threading.Event()
        self._may_go_on.set()

    def on_hold(self, _: Channel, call: Call) -> None:
        """The node has heard too much, or can take more again. On the wire thread."""
        told: HoldSubmissions = decoder_of(HoldSubmissions).decode(call.body)
        if told.holds:
            self._may_go_on.clear()
        else:
            self._may_go_on.set()

    def over(self) -> None:
        """The node is gone, or the session over: nobody need wait."""
        self._may_go_on.set()

    def wait(self) -> None:
        """Before something is submitted to the head: return when there is room for it. From any thread."""
        if self._may_go_on.is_set() or self._hub.wire.is_current():
            return
        if self._hub.identity.is_driver or running.get() is None:
            self._may_go_on.wait()
        else:
            with self._hub.waiting.blocked():
                self._may_go_on.wait()
