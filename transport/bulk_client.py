"""Fetches ranges of other processes' objects into memory that the caller supplies.

One range at a time and connection, and no second try: which range to ask whom for, and what to do about one that
failed, is for whoever knows why it is wanted (cluster/pull/).
"""

import asyncio
from typing import NamedTuple
from urllib.parse import quote

from .address import ProcessAddress
from .auth import HOST, NONCE_HEADER, PROCESS_HEADER, PROOF_HEADER, new_nonce
from .bulk import bulk_proof
from .bulk_connection import BulkConnection
from .bulk_response import BulkResponse
from .channel import Channel
from .endpoint import Endpoint
from .error import ConnectError
from .gate import connect
from .tls import explain

_KEPT = 8
"""Idle connections to one process; more are dropped."""

PATIENCE = 120.0
"""Seconds that an answer may take to begin: the peer may have to fetch the object from a disk, or from elsewhere."""


class Fetched(NamedTuple):
    """A range that has arrived: the tag of the object that it is of, and its checksum."""

    tag: str
    checksum: int


class BulkClient:
    """Fetches ranges over connections of its own, which it keeps for the next ones. On the endpoint's loop only."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._idle: dict[str, list[BulkConnection]] = {}
        self._closed = False

    async def fetch(
        self, address: ProcessAddress, name: str, start: int, into: memoryview, size: int, tag: str = ""
    ) -> Fetched:
        """Copy the bytes from `start` on of the object `name` of that process into `into`, as many as that takes.

        After an error, and after being cancelled, nothing more is written there; what was is undefined.

        Args:
            address: the process.
            name: the object's name.
            start: where the range begins.
            into: contiguous bytes.
            size: the object's size in bytes.
            tag: the object's, as an earlier range told it; "" takes any.

        Raises:
            BulkNotFoundError: the process has no such object. BulkChangedError: it has another size or tag.
            BulkUnavailableError: it cannot be had now. BulkChecksumError: the range arrived wrong.
            ConnectError: the stream broke, or could not be made. PeerLostError, PeerClosedError: the process is gone.
        """
        into = into.cast("B")
        channel = await self._endpoint.connect(address)
        peer_id = channel.peer.process_id
        limits = self._endpoint.limits
        connection = self._kept(peer_id) or await self._connect(channel.peer)
        response = BulkResponse(into, size)
        request = self._request(channel, name, start, start + len(into), tag)
        try:
            await connection.get(request, response, channel, limits.silence, PATIENCE)
        except BaseException:
            connection.abort()
            raise
        kept = self._idle.get(peer_id, [])
        if len(kept) < _KEPT and channel.error is None and not self._closed:
            self._idle[peer_id] = [*kept, connection]
        else:
            connection.abort()
        return Fetched(response.tag, response.checksum)

    def forget(self, process_id: str) -> None:
        """Drop the connections to a process that is gone."""
        for connection in self._idle.pop(process_id, ()):
            connection.abort()

    async def close(self) -> None:
        """Drop the connections that are kept, and keep no others."""
        self._closed = True
        for process_id in list(self._idle):
            self.forget(process_id)

    def _kept(self, peer_id: str) -> BulkConnection | None:
        kept = self._idle.get(peer_id, [])
        while kept:
            connection = kept.pop()
            if connection.usable:
                return connection
        return None

    def _request(self, channel: Channel, name: str, start: int, stop: int, tag: str) -> bytes:
        nonce = new_nonce()
        byte_range = f"bytes={start}-{stop - 1}"
        lines = (
            f"GET /bulk/{quote(name, safe='')} HTTP/1.1",
            f"Host: {HOST}",
            f"Range: {byte_range}",
            *([f'If-Match: "{tag}"'] if tag else []),
            f"{PROCESS_HEADER}: {self._endpoint.address.process_id}",
            f"{NONCE_HEADER}: {nonce}",
            f"{PROOF_HEADER}: {bulk_proof(channel.bulk_key, name, byte_range, nonce)}",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _route(self, peer: ProcessAddress) -> str:
        return peer.route_from(self._endpoint.address.host_id)

    async def _connect(self, peer: ProcessAddress) -> BulkConnection:
        loop = asyncio.get_running_loop()
        route = self._route(peer)
        kind, _, target = route.partition(":")
        try:
            async with asyncio.timeout(self._endpoint.limits.connect):
                if kind == "unix":
                    _, connection = await loop.create_unix_connection(BulkConnection, target)
                else:
                    connection = await connect(BulkConnection, target, peer.process_id, self._endpoint.client_tls)
        except (OSError, TimeoutError) as error:  # also errors of TLS
            raise ConnectError(f"Cannot connect to {route} for a bulk stream: {explain(error)}.") from error
        return connection
