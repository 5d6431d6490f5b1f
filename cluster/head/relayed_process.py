"""A process whose node passes on what it and the head say to each other."""

from typing import TYPE_CHECKING

from ...actors.contract import HEAD
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ..cluster_message import ToProcess

if TYPE_CHECKING:
    from .head_state import Outbox


class RelayedProcess:
    """What the head's desks need of the channel to a process: who it is, answering, and telling it something.

    Attributes:
        peer: the process.
        peer_info: what is known of it: its node.
    """

    def __init__(self, peer: ProcessAddress, node_id: str, node: Channel, outbox: "Outbox") -> None:
        self.peer = peer
        self.peer_info = {"node": node_id}
        self._node = node
        self._outbox = outbox

    def reply(self, call_id: int, body: bytes, failed: bool = False) -> None:
        """Answer a call of its."""
        self._outbox.after(lambda: self._node.reply(call_id, body, failed))

    def notify(self, actor: str, method: str, body: bytes) -> None:
        """Tell one of its actors something."""
        self._outbox.notify(self._node.peer, HEAD, ToProcess(self.peer.process_id, actor, method, body))
