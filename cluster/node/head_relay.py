"""The actor "head" of a node whose head is another process: it passes on what the node's processes say to the head.

So a process needs to know its node only, and the head has one channel to each node, however many processes there are.

Nothing is lost with a head: what it has not answered is kept, and sent again, in order, to the one that comes after it.
A head answers when what it has decided is safe, and takes what it hears twice as once.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ...actors.contract import CORE, HEAD, HeadReplaced, decoder_of, encode
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call, Reply
from ..cluster_message import FromProcess, ProcessGone, ProcessHere, ToProcess
from ..system_process import Arrived, Lost, SystemActor

if TYPE_CHECKING:
    from ..system_process import SystemProcess

logger = logging.getLogger(__name__)


class HeadRelay(SystemActor):
    """Lives in the node process. What the head answers goes back to whoever asked, unread."""

    name = HEAD

    def __init__(self, process: "SystemProcess") -> None:
        super().__init__(asyncio.get_running_loop())
        self._process = process
        self._head: ProcessAddress | None = None
        self._last = ""
        self._unanswered: dict[int, tuple[FromProcess, Channel | None, int]] = {}
        self._next = 0
        self._speakers: dict[str, ProcessAddress] = {}

    # --- the head ---

    def connected(self, head: ProcessAddress) -> None:
        """The head takes messages: send all that is unanswered. Another than before does not know who listens."""
        replaced = self._last not in {"", head.process_id}
        self._head, self._last = head, head.process_id
        for number in list(self._unanswered):
            self._send(number)
        if replaced:
            for address in self._speakers.values():
                self._process.notify(address, CORE, HeadReplaced())
                self._keep(FromProcess(address, ProcessHere.__name__, encode(ProcessHere()), wants_reply=False))

    def disconnected(self) -> None:
        """The head is away: what is said to it waits."""
        self._head = None

    def _send(self, number: int) -> None:
        if self._head is None:
            return
        message, channel, call_id = self._unanswered[number]

        def answered(reply: Reply | TransportError) -> None:
            if isinstance(reply, TransportError):
                return  # it is sent again when a head is there
            if self._unanswered.pop(number, None) is not None and channel is not None and call_id:
                channel.reply(call_id, reply.body, failed=reply.failed)

        self._process.links.ask(self._head, HEAD, message, answered)

    # --- the node's processes ---

    def on_receive(self, message: Any) -> None:
        """A process says something to the head, the head to a process, or a process has ended."""
        match message:
            case Arrived(channel, call) if call.method == ToProcess.__name__:
                if channel.peer.process_id == self._last:  # one that was replaced may go on for a while
                    self._to_process(call)
            case Arrived(channel, call):
                self._speakers[channel.peer.process_id] = channel.peer
                said = FromProcess(channel.peer, call.method, call.body, wants_reply=call.call_id != 0)
                self._keep(said, channel, call.call_id)
            case Lost(channel, _) if channel.peer.process_id in self._speakers:
                del self._speakers[channel.peer.process_id]
                gone = ProcessGone(channel.peer.process_id)
                said = FromProcess(channel.peer, ProcessGone.__name__, encode(gone), wants_reply=False)
                self._keep(said)
            case _:
                pass

    def _keep(self, said: FromProcess, channel: Channel | None = None, call_id: int = 0) -> None:
        self._next += 1
        self._unanswered[self._next] = (said, channel, call_id)
        self._send(self._next)

    def _to_process(self, call: Call) -> None:
        told: ToProcess = decoder_of(ToProcess).decode(call.body)
        channel = self._process.endpoint.channel(told.process_id)
        if channel is not None:
            channel.notify(told.actor, told.method, told.body)
