"""One authenticated websocket connection, as a wire uses it: frames out without a task a frame, frames in."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

from aiohttp import ClientError, WSMsgType


class Websocket(Protocol):
    """What aiohttp's client and server websockets have in common and this module uses."""

    def send_bytes(self, data: bytes) -> Coroutine[Any, Any, None]:
        """Send a message; waits only while the connection is congested."""
        ...

    def receive(self) -> Coroutine[Any, Any, Any]:
        """The next message, or the end of the connection as one."""
        ...


class Link:
    """Wraps one websocket. Lives on the loop thread.

    `on_frame` gets each binary message, `on_end` is called once when the connection has ended, and `on_writable` when a
    connection that was congested takes frames again.

    Attributes:
        local: whether this is a Unix socket.
        congested: the operating system takes no more for now; frames should wait.
    """

    def __init__(
        self,
        websocket: Websocket,
        abort: Callable[[], None],
        release: Callable[[], Awaitable[None]] | None = None,
        *,
        local: bool,
    ) -> None:
        """Wrap a websocket.

        Args:
            websocket: aiohttp's, of either side.
            abort: drops the connection at once.
            release: gives back what belongs to it, after its end.
            local: whether this is a Unix socket.
        """
        self.local = local
        self.congested = False
        self.ended = False
        self.heard = True  # since the last look of the heartbeat
        self.said = True
        self.quiet_since = 0.0
        self._abort = abort
        self._release = release
        self._send = websocket.send_bytes
        self._receive = websocket.receive
        self._drain: asyncio.Task[None] | None = None
        self._on_writable: Callable[[], None] = _nothing

    def write(self, data: bytes) -> None:
        """Send one frame. It is buffered where the connection is congested, which callers should look at first.

        `send_bytes` waits only when the connection is congested. Stepping the coroutine by hand saves a task, and one
        round of the loop, for all other frames.
        """
        self.said = True
        sending = self._send(data)
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except (ConnectionError, ClientError, RuntimeError):
            self.cut()  # the receiving side notices and reports the end
            return
        self.congested = True
        self._drain = asyncio.get_running_loop().create_task(self._finish(_Rest(sending, waits_for)))

    async def _finish(self, rest: "_Rest") -> None:
        try:
            await rest
        except (ConnectionError, ClientError, RuntimeError):
            self.cut()
            return
        self.congested = False
        self._drain = None
        self._on_writable()

    async def run(self, on_frame: Callable[[bytes], None], on_writable: Callable[[], None]) -> None:
        """Receive until the connection ends."""
        self._on_writable = on_writable
        receive = self._receive
        binary = WSMsgType.BINARY
        try:
            while True:
                message = await receive()
                if message.type is not binary:
                    break  # a close, an error, or text, which no peer of ours sends
                if self.ended:
                    break  # cut, with messages still in aiohttp's buffer
                self.heard = True
                on_frame(message.data)
        finally:
            await self.close()

    async def close(self) -> None:
        """Cut the connection and give back what belongs to it."""
        self.cut()
        if self._release is not None:
            release, self._release = self._release, None
            await release()

    def cut(self) -> None:
        """End the connection at once, whatever is under way. Idempotent."""
        if self.ended:
            return
        self.ended = True
        self._on_writable = _nothing
        if self._drain is not None:
            self._drain.cancel()
        self._abort()


class _Rest:
    """Awaits the rest of a coroutine that was started by hand and has yielded the future `waits_for`."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            yield self._waits_for
        except BaseException as error:
            self._coroutine.throw(error)
            raise
        yield from self._coroutine.__await__()


def _nothing() -> None:
    """The callback of a link that nobody uses."""
