"""One connection for bulk streams: the loop reads from the socket right into the caller's memory."""

import asyncio
from typing import Any

from .bulk_response import BulkResponse
from .channel import Channel
from .error import BulkError, ConnectError, ProtocolError, TransportError

_STRAY = 1024  # bytes


class BulkConnection(asyncio.BufferedProtocol):
    """Carries one request and its answer at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._response: BulkResponse | None = None
        self._done: asyncio.Future[None] | None = None
        self._moved = False
        self._stray = bytearray(_STRAY)

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def get(
        self, request: bytes, response: BulkResponse, channel: Channel, silence: float, patience: float
    ) -> None:
        """Send a request and receive the response.

        Args:
            request: the request.
            response: takes the answer.
            channel: to the same process; when that has ended, there is nothing to wait for.
            silence: seconds without a byte within the answer after which it counts as broken.
            patience: seconds that the answer may take to begin.

        Raises:
            ConnectError: it broke. PeerLostError, PeerClosedError: the channel ended.
        """
        if self._transport is None:
            raise ConnectError("The bulk connection has ended.")
        loop = asyncio.get_running_loop()
        self._response = response
        self._done = loop.create_future()
        self._transport.write(request)
        begin_by = loop.time() + patience
        try:
            self._moved = True
            while self._moved or (not response.begun and loop.time() < begin_by):
                self._moved = False
                await asyncio.wait([self._done], timeout=silence)
                if self._done.done():
                    return self._done.result()
                if channel.error is not None:
                    raise channel.error
            waited = silence if response.begun else patience
            raise ConnectError(f"The bulk stream has stalled: nothing arrived for {waited:g} s.")
        finally:
            self._response = None
            if not self._done.done():
                self._done.cancel()

    def abort(self) -> None:
        """Drop the connection. Nothing is written into the caller's memory any more."""
        self._response = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop has connected."""
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue]  (uvloop's is not asyncio's class)

    def get_buffer(self, sizehint: int) -> memoryview | bytearray:  # noqa: ARG002  (asyncio's signature)
        """Where the loop reads into."""
        return self._stray if self._response is None or self._response.done else self._response.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """The loop has read."""
        self._moved = True
        if self._response is None or self._done is None or self._done.done():
            self.abort()  # an answer that nobody asked for
            return
        try:
            self._response.filled(nbytes)
        except (BulkError, ProtocolError) as error:
            self._fail(error)
        else:
            if self._response.done:
                self._done.set_result(None)

    def eof_received(self) -> Any:
        """The peer sends no more."""
        self._fail(ConnectError("The peer ended the bulk stream."))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._transport = None
        self._fail(ConnectError(f"The bulk stream broke: {exc!r}."))

    def _fail(self, error: TransportError) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)
        self.abort()
