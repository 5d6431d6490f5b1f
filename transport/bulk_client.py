"""Fetches large objects from other processes into memory that the caller supplies."""

import asyncio
from collections import deque
from typing import Any
from urllib.parse import quote

from .address import ProcessAddress
from .auth import HOST, NONCE_HEADER, PROCESS_HEADER, PROOF_HEADER, new_nonce
from .bulk import bulk_proof
from .bulk_response import BulkResponse
from .channel import Channel
from .endpoint import Endpoint
from .error import BulkChecksumError, BulkError, ConnectError, ProtocolError, TransportError
from .gate import dial
from .limits import MIB, TransportLimits
from .tls import explain

_RANGE = 16 * MIB  # what is asked for at a time, and sent again when it fails
_RETRY_PAUSE = 0.05  # seconds


class BulkClient:
    """Fetches objects over connections of its own, which it keeps for the next fetch. On the endpoint's loop only."""

    def __init__(self, endpoint: Endpoint, *, streams: int = 4) -> None:
        """Make a client; `streams` is how many ranges of one object are fetched at a time by TCP.

        One connection rarely fills a network; a Unix socket gains nothing from a second one.
        """
        self._endpoint = endpoint
        self._streams = streams
        self._idle: dict[str, list[_Connection]] = {}

    async def fetch(self, address: ProcessAddress, name: str, into: memoryview) -> None:
        """Copy the object `name` of that process into `into`, which has the object's size.

        After an error the contents are undefined. A range that fails is fetched again, as long as no more than
        `limits.grace` seconds go by without progress.

        Raises:
            BulkNotFoundError: the process has no such object. BulkChecksumError: a range arrived wrong twice.
            BulkError: the object has another size. ConnectError, PeerLostError, PeerClosedError: the process cannot
            be reached.
        """
        into = into.cast("B")
        channel = await self._endpoint.connect(address)
        fetch = _Fetch(name, into, channel, self._endpoint.limits)
        streams = 1 if self._route(channel.peer).startswith("unix:") else self._streams
        workers = [asyncio.ensure_future(self._work(fetch)) for _ in range(min(streams, len(fetch.missing)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def close(self) -> None:
        """Drop the connections that are kept."""
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.abort()

    async def _work(self, fetch: "_Fetch") -> None:
        peer_id = fetch.channel.peer.process_id
        connection: _Connection | None = None
        try:
            while (piece := fetch.next_range()) is not None:
                try:
                    connection = connection or self._kept(peer_id) or await self._connect(fetch.channel.peer)
                    request = fetch.request(self._endpoint.address.process_id, *piece)
                    await connection.get(request, fetch.response(*piece), self._endpoint.limits.silence)
                    fetch.succeeded()
                except (ConnectError, BulkChecksumError) as error:
                    connection = _drop(connection)
                    fetch.failed(piece, error)
                    await asyncio.sleep(_RETRY_PAUSE)
        except BaseException:
            connection = _drop(connection)
            raise
        if connection is not None:
            self._idle.setdefault(peer_id, []).append(connection)

    def _kept(self, peer_id: str) -> "_Connection | None":
        kept = self._idle.get(peer_id, [])
        while kept:
            connection = kept.pop()
            if connection.usable:
                return connection
        return None

    def _route(self, peer: ProcessAddress) -> str:
        return peer.route_from(self._endpoint.address.host_id)

    async def _connect(self, peer: ProcessAddress) -> "_Connection":
        loop = asyncio.get_running_loop()
        route = self._route(peer)
        kind, _, target = route.partition(":")
        try:
            async with asyncio.timeout(self._endpoint.limits.connect):
                if kind == "unix":
                    _, connection = await loop.create_unix_connection(_Connection, target)
                else:
                    tls = self._endpoint.client_tls
                    host = target.rpartition(":")[0].removeprefix("[").removesuffix("]")
                    _, connection = await loop.create_connection(
                        _Connection,
                        sock=await dial(target, peer.process_id, secure=tls is not None),
                        ssl=tls,
                        server_hostname=host if tls else None,
                    )
        except (OSError, TimeoutError) as error:  # also errors of TLS
            raise ConnectError(f"Cannot connect to {route} for a bulk stream: {explain(error)}.") from error
        return connection


class _Fetch:
    """The state of one fetch: which ranges are missing, and whether to go on after a failure."""

    def __init__(self, name: str, into: memoryview, channel: Channel, limits: TransportLimits) -> None:
        self.channel = channel
        self._name = name
        self._into = into
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._progress = self._loop.time()
        self._wrong: set[int] = set()  # starts of ranges that arrived with a wrong checksum
        self.missing = deque((start, min(start + _RANGE, len(into))) for start in range(0, len(into), _RANGE))

    def next_range(self) -> tuple[int, int] | None:
        if self.channel.error is not None:
            raise self.channel.error
        return self.missing.popleft() if self.missing else None

    def succeeded(self) -> None:
        self._progress = self._loop.time()

    def failed(self, piece: tuple[int, int], error: TransportError) -> None:
        """A range failed: queue it again, or give up."""
        twice_wrong = isinstance(error, BulkChecksumError) and piece[0] in self._wrong
        if twice_wrong or self._loop.time() - self._progress > self._limits.grace:
            raise error
        if isinstance(error, BulkChecksumError):
            self._wrong.add(piece[0])
        self.missing.appendleft(piece)

    def response(self, start: int, stop: int) -> BulkResponse:
        return BulkResponse(self._into[start:stop], len(self._into))

    def request(self, own_id: str, start: int, stop: int) -> bytes:
        nonce = new_nonce()
        byte_range = f"bytes={start}-{stop - 1}"
        lines = (
            f"GET /bulk/{quote(self._name, safe='')} HTTP/1.1",
            f"Host: {HOST}",
            f"Range: {byte_range}",
            f"{PROCESS_HEADER}: {own_id}",
            f"{NONCE_HEADER}: {nonce}",
            f"{PROOF_HEADER}: {bulk_proof(self.channel.bulk_key, self._name, byte_range, nonce)}",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Connection(asyncio.BufferedProtocol):
    """One connection for bulk streams: the loop reads from the socket right into the response's memory."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._response: BulkResponse | None = None
        self._done: asyncio.Future[None] | None = None
        self._moved = False
        self._stray = bytearray(1024)

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def get(self, request: bytes, response: BulkResponse, patience: float) -> None:
        """Send a request and receive the response; fails when nothing arrives for `patience` seconds."""
        if self._transport is None:
            raise ConnectError("The bulk connection has ended.")
        self._response = response
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            self._moved = True
            while self._moved:
                self._moved = False
                await asyncio.wait([self._done], timeout=patience)
                if self._done.done():
                    return self._done.result()
            raise ConnectError(f"The bulk stream has stalled: nothing arrived for {patience:g} s.")
        finally:
            self._response = None
            if not self._done.done():
                self._done.cancel()

    def abort(self) -> None:
        """Drop the connection."""
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


def _drop(connection: _Connection | None) -> None:
    if connection is not None:
        connection.abort()
