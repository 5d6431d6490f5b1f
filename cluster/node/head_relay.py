"""The actor "head" of a node whose head is another process: it passes on what the node's processes say to the head.

So a process needs to know its node only, and the head has one channel to each node, however many processes there are.

Nothing is lost with a head: what it has not answered is kept, and sent again, in order, to the one that comes after it.
A head answers when what it has decided is safe, and takes what it hears twice as once.

What is kept is bounded. A head that answers nothing, because its state cannot be written, has heard `WINDOW` bytes of
this node, and no more. Whoever says more than `MOST_KEPT` is asked to wait (`HoldSubmissions`): the threads that create
actors do. Nothing that the head needs to get on comes from such a thread, so nobody waits for each other.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...actors.contract import CORE, HEAD, HeadNotice, HeadReplaced, HoldSubmissions, decoder_of, encode
from ...actors.serialization import serialize_error
from ...exceptions import RpcError
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call, Reply
from ..cluster_message import FromProcess, ProcessGone, ProcessHere, ToProcess
from ..system_process import Arrived, Lost, SystemActor
from .head_patience import QUESTIONS, HeadPatience, asks_only

if TYPE_CHECKING:
    from ..system_process import SystemProcess

WINDOW: Final = 4 * 2**20
"""Bytes that the head may have heard of this node and not answered yet."""

MOST_KEPT: Final = 32 * 2**20
"""Bytes that wait here before processes are asked to say no more; half of it before they may go on."""

_LOOK_S = 1.0
_OVERHEAD = 200
"""Bytes that a message costs beyond its body, roughly."""

_RESTART = (
    "If it does not come back by itself: `cluster start --head` with the same options, on its machine, starts it "
    "again, with its state."
)

logger = logging.getLogger(__name__)


class _Kept:
    """What the head has not answered."""

    __slots__ = ("call_id", "channel", "counted", "said", "size")

    def __init__(self, said: FromProcess, channel: Channel | None, call_id: int) -> None:
        self.said = said
        self.channel = channel
        self.call_id = call_id
        # Who asks waits for the answer, and so bounds itself. Some answers come late: they must not be in the way.
        self.size = 0 if call_id else len(said.body) + _OVERHEAD
        self.counted = False


class HeadRelay(SystemActor):
    """Lives in the node process. What the head answers goes back to whoever asked, unread.

    Args:
        process: the node process.
        patience: how long the head may leave something unanswered.
        where: the head's address, for people.
        waiting: processes that wait for the head although they have said nothing to it, as their tasks find no room.
    """

    name = HEAD

    def __init__(
        self,
        process: "SystemProcess",
        patience: HeadPatience | None = None,
        where: Callable[[], str] = str,
        waiting: Callable[[], list[str]] = list,
    ) -> None:
        super().__init__(asyncio.get_running_loop())
        self._process = process
        self._where = where
        self._waiting = waiting
        self._patience = patience or HeadPatience()
        self._timer: asyncio.TimerHandle | None = None
        self._head: ProcessAddress | None = None
        self._last = ""
        self._unanswered: dict[int, _Kept] = {}
        self._next = self._sent = 0
        self._in_flight = self._bytes = 0
        self._speakers: dict[str, ProcessAddress] = {}
        self._holds = False
        self._trouble = ""

    # --- the head ---

    def connected(self, head: ProcessAddress) -> None:
        """The head takes messages: send all that is unanswered. Another than before does not know who listens."""
        replaced = self._last not in {"", head.process_id}
        self._head, self._last, self._trouble = head, head.process_id, ""
        for kept in self._unanswered.values():
            kept.counted = False
        self._in_flight = 0
        self._sent = next(iter(self._unanswered), self._next + 1) - 1
        self._send()
        self._patience.back()
        self._watch()
        if replaced:
            for address in self._speakers.values():
                self._process.notify(address, CORE, HeadReplaced())
                self._keep(FromProcess(address, ProcessHere.__name__, encode(ProcessHere()), wants_reply=False))

    def disconnected(self) -> None:
        """The head is away: what is said to it waits."""
        self._head = None
        self._patience.away(self._loop.time())
        self._watch()

    def troubled(self, text: str) -> None:
        """What the head says of itself: why it answers nothing now; "": it does again."""
        self._trouble = text

    def close(self) -> None:
        """Tell nobody anything any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        """Send what waits, as far as the head can take it."""
        while self._head is not None and self._sent < self._next and self._in_flight < WINDOW:
            self._sent += 1
            kept = self._unanswered.get(self._sent)
            if kept is not None:
                kept.counted = True
                self._in_flight += kept.size
                self._process.links.ask(self._head, HEAD, kept.said, self._answer_to(self._sent))

    def _answer_to(self, number: int) -> Callable[[Reply | TransportError], None]:
        def answered(reply: Reply | TransportError) -> None:
            if isinstance(reply, TransportError):
                return  # it is sent again when a head is there
            self._conclude(number, reply.body, reply.failed)

        return answered

    def _conclude(self, number: int, body: bytes, failed: bool) -> None:
        kept = self._unanswered.pop(number, None)
        if kept is None:
            return
        self._patience.answered(number)
        self._bytes -= kept.size
        if kept.counted:
            self._in_flight -= kept.size
        if kept.channel is not None and kept.call_id:
            kept.channel.reply(kept.call_id, body, failed=failed)
        self._send()
        if self._holds and self._bytes <= MOST_KEPT // 2:
            self._hold(False)

    # --- the node's processes ---

    def on_receive(self, message: Any) -> None:
        """A process says something to the head, the head to a process, or a process has ended."""
        match message:
            case Arrived(channel, call) if call.method == ToProcess.__name__:
                if channel.peer.process_id == self._last:  # one that was replaced may go on for a while
                    self._to_process(call)
            case Arrived(channel, call):
                if channel.peer.process_id not in self._speakers:
                    self._speakers[channel.peer.process_id] = channel.peer
                    if self._holds:
                        self._process.notify(channel.peer, CORE, HoldSubmissions(True))
                said = FromProcess(channel.peer, call.method, call.body, wants_reply=call.call_id != 0)
                self._keep(said, channel, call.call_id)
            case Lost(channel, _) if channel.peer.process_id in self._speakers:
                del self._speakers[channel.peer.process_id]
                self._patience.left(channel.peer.process_id)
                self._forget_questions(channel.peer.process_id)
                gone = ProcessGone(channel.peer.process_id)
                said = FromProcess(channel.peer, ProcessGone.__name__, encode(gone), wants_reply=False)
                self._keep(said)
            case _:
                pass

    def _keep(self, said: FromProcess, channel: Channel | None = None, call_id: int = 0) -> None:
        self._next += 1
        kept = self._unanswered[self._next] = _Kept(said, channel, call_id)
        self._bytes += kept.size
        if channel is not None and channel.peer.process_id != self._process.address.process_id:
            self._patience.said(self._next, said.sender.process_id, said.method, self._loop.time())
            self._watch()
        self._send()
        if not self._holds and self._bytes > MOST_KEPT:
            self._hold(True)

    def _forget_questions(self, process_id: str) -> None:
        """Nobody waits for the answers any more. What is to change something is said all the same."""
        for number, kept in list(self._unanswered.items()):
            if kept.call_id and kept.said.sender.process_id == process_id and asks_only(kept.said.method):
                del self._unanswered[number]  # its size is 0, and so nothing is to be counted
                self._patience.answered(number)

    def _hold(self, holds: bool) -> None:
        self._holds = holds
        logger.warning("%d MiB wait for the head; programs %s", self._bytes >> 20, "wait, too" if holds else "go on")
        for address in self._speakers.values():
            self._process.notify(address, CORE, HoldSubmissions(holds))

    def _to_process(self, call: Call) -> None:
        told: ToProcess = decoder_of(ToProcess).decode(call.body)
        channel = self._process.endpoint.channel(told.process_id)
        if channel is not None:
            self._process.connected(channel.peer, lambda found: self._pass_on(found, told))

    @staticmethod
    def _pass_on(channel: Channel | TransportError, told: ToProcess) -> None:
        if not isinstance(channel, TransportError):
            channel.notify(told.actor, told.method, told.body)

    # --- those who wait ---

    def _watch(self) -> None:
        if self._timer is None and self._patience.looks:
            self._timer = self._loop.call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        look = self._patience.look(now, self._waiting())
        self._notify(look.tell, self._explain())
        for number in look.refuse:
            self._conclude(number, serialize_error(RpcError(self._refusal(number))), failed=True)
        self._notify(self._patience.relieved(now), f"The head at {self._where()} answers again.")
        self._watch()

    def _notify(self, process_ids: list[str], text: str) -> None:
        if process_ids:
            logger.warning("%s (told to %d processes that wait for it)", text, len(process_ids))
        for process_id in process_ids:
            channel = self._process.endpoint.channel(process_id)
            if channel is not None and channel.peer_info.get("kind") in {"driver", "worker"}:
                self._process.notify(channel.peer, CORE, HeadNotice(text))  # waits where the process is slow to listen

    def _explain(self) -> str:
        if self._head is not None:
            return f"{self._state_of_it()} What runs goes on; new actors, placement groups and questions wait for it."
        return (
            f"{self._state_of_it()} What runs goes on; new actors and placement groups, and tasks that this node has "
            f"no room for, wait until it is back. {_RESTART}"
        )

    def _state_of_it(self) -> str:
        if self._head is None:
            return f"The head at {self._where()} is out of reach."
        return f"The head at {self._where()} does not answer{f': {self._trouble}' if self._trouble else '.'}"

    def _refusal(self, number: int) -> str:
        asked = QUESTIONS[self._unanswered[number].said.method]
        return (
            f"The head at {self._where()} {asked}, and has not answered for {self._patience.patience:g} s. "
            f"{self._state_of_it()} What runs goes on, and what was submitted is not lost. {_RESTART} "
            "LIMELIGHT_gcs_server_request_timeout_seconds, set where the node is started, says how long questions wait."
        )
