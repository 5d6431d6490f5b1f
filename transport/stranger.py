"""A connection to a server until it has authenticated: what it can make the server do is bounded."""

import asyncio
import logging
from typing import Any

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from .anteroom import Anteroom
from .auth import Challenge
from .limits import KIB
from .seldom import Seldom

_nonsense = Seldom(logging.getLogger(__name__))

MOST_BYTES = 32 * KIB
"""What a connection may send before it has authenticated. A handshake is two requests of well under 10 KiB."""


class Stranger(RequestHandler):
    """aiohttp's protocol for one connection, which counts what it is sent until it is admitted.

    Attributes:
        challenge: what it was asked and has not answered yet. It is this connection's alone, so nobody else can answer
            it, and others' challenges cannot displace it.
    """

    def __init__(
        self, server: Server, anteroom: "Anteroom[Stranger]", most_bytes: int = MOST_BYTES, linger: float = 0.0
    ) -> None:
        """Make one for a connection of `server`, which waits in `anteroom` from when it can say something.

        Args:
            server: aiohttp's.
            anteroom: its own.
            most_bytes: what it may send before it is admitted.
            linger: seconds that the rest of a refused request is read for, so that its sender sees the answer.
        """
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=None, lingering_time=linger)  # pyright: ignore[reportArgumentType] - None: no log
        self.challenge: Challenge | None = None
        self._anteroom = anteroom
        self._left = most_bytes
        self._known = False

    def take_challenge(self) -> Challenge | None:
        """The challenge, once."""
        challenge, self.challenge = self.challenge, None
        return challenge

    def admitted(self) -> None:
        """It has authenticated: from now on nothing is counted, and nothing stands between it and aiohttp."""
        self._anteroom.leave(self)
        self._known = True
        self.data_received = super().data_received
        if self.transport is not None:
            self.transport.set_protocol(self)  # transports keep the method

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there; of TLS the handshake is over."""
        self._anteroom.enter(self)
        super().connection_made(transport)

    def data_received(self, data: Any) -> None:
        """The connection has sent something."""
        self._left -= len(data)
        if self._left >= 0:
            super().data_received(data)
        else:
            self.expel()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection has ended."""
        self._anteroom.leave(self)
        super().connection_lost(exc)

    def dropped(self) -> None:
        """Whoever was accepting it has given up. A connection that was made by then ends here.

        uvloop drops it without a word where the acceptor is cancelled in the moment between `connection_made` and its
        own waking; then aiohttp would wait for this connection's next request for good.
        """
        if self.transport is not None:
            self.transport.abort()
            asyncio.get_running_loop().call_soon(self.connection_lost, None)  # when aiohttp's task has begun

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """A request could not be read, or not be answered."""
        if self._known:
            super().log_exception(*args, **kw)
        else:
            _nonsense.warn(
                "no request of ours, from a connection that has not authenticated: %.300r", kw.get("exc_info")
            )

    def expel(self) -> None:
        """Drop the connection."""
        if self.transport is not None:
            self.transport.abort()
