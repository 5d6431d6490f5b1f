"""How a node joins its cluster: it finds the head, sees that it can join it, and registers."""

import asyncio
import logging
import time
from collections.abc import Callable

from ...actors.contract import HEAD, decoder_of
from ...transport.address import ProcessAddress
from ...transport.error import ConnectError, DeadlineExceededError, TransportError
from ..cluster_message import NodeRegistered, RegisterNode
from ..system_process import SystemProcess
from .head_check import WrongHeadError, check_head, compare_clocks
from .head_route import HeadRoute

_FIRST_GREET_S = 5.0

logger = logging.getLogger(__name__)


class HeadJoining:
    """Knows which head this node has joined.

    Args:
        process: the node process.
        route: where the head may be.
        any_python: the head's minor version of Python may be another.

    Attributes:
        head: the head that was found last; until then where to look.
        session: the cluster's name for its session; "" until a head was found.
        term: of that head; those after it have higher ones.
        warnings: what the node's user should know.
    """

    def __init__(self, process: SystemProcess, route: HeadRoute, *, any_python: bool) -> None:
        self._process = process
        self._route = route
        self._any_python = any_python
        self.head: ProcessAddress = route.address
        self.session = ""
        self.term = 0
        self.warnings: list[str] = []

    async def greet(self) -> None:
        """Connect to the head, and see that this node can join it.

        Raises:
            WrongHeadError: it is no head, or of another version. TransportError: it cannot be reached, or refuses.
        """
        try:
            async with asyncio.timeout(_FIRST_GREET_S):
                channel = await self._process.endpoint.connect(self._route.address)
        except TimeoutError:
            raise ConnectError(f"No answer within {_FIRST_GREET_S:g} s.") from None
        told = channel.peer_info
        try:
            warning = check_head(
                told, self._route.text, session=self.session, term=self.term, any_python=self._any_python
            )
        except WrongHeadError:
            await channel.close()  # so that it is asked anew, should it become the head
            raise
        self._warn(warning)
        self.head = channel.peer
        self.session, self.term = told.get("session", ""), int(told.get("term", "0"))

    async def find(self, first_pause: float, most_pause: float) -> None:
        """`greet`, as often as it takes, with pauses that double from the first to the longest (in seconds)."""
        pause = first_pause
        while True:
            try:
                await self.greet()
            except TransportError as error:
                logger.warning("the head cannot be joined yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, most_pause)
            else:
                return

    async def register(self, registration: RegisterNode, said: Callable[[], None], patience: float) -> None:
        """Register; returns when the node can be used.

        Args:
            registration: what the head is told.
            said: called when it is on its way, before anything else goes to the head.
            patience: seconds that the head may take to answer.

        Raises:
            TransportError: the head cannot be reached, or does not answer.
        """
        sent = time.time()
        answer = self._process.spawn(self._process.request(self.head, HEAD, registration, patience))
        await asyncio.sleep(0)  # one turn: the question is on its way before all that follows
        said()
        try:
            registered: NodeRegistered = decoder_of(NodeRegistered).decode(await answer)
        except DeadlineExceededError:
            raise DeadlineExceededError(f"The head has not answered within {patience:g} s.") from None
        self._warn(compare_clocks(sent, registered.time, time.time()))

    def follow(self, head: ProcessAddress, term: int) -> None:
        """Another leads now, as it says itself: orders are taken from it before it was greeted."""
        self.head, self.term = head, term

    def _warn(self, text: str) -> None:
        if text:
            self.warnings.append(text)
