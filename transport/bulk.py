"""Serves large objects as HTTP byte ranges, straight from where they lie in memory.

    GET /bulk/<name>                                  206 Partial Content
    Range: bytes=<first>-<last>                       Content-Range: bytes <first>-<last>/<size>
    If-Match: "<tag>"                                 ETag: "<tag>"
    Limelight-Process: <who asks>            ->       Content-Length: <length + 4>
    Limelight-Nonce: <random>
    Limelight-Proof: <HMAC>                           <the bytes> <their CRC-32, big-endian>

Requests are signed with the key that the two processes agreed on when their channel was made (`Channel.bulk_key`), so
bulk streams need a channel and end with it. Ranges, ETag and If-Match are those of RFC 9110; the tag keeps whoever
fetches an object range by range, perhaps from several processes, from joining pieces of two that only share a name.

An object may be served while it is still arriving: the answer to a request for a range begins when the range is there.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse

from .auth import NONCE_HEADER, PROCESS_HEADER, PROOF_HEADER, REASON_HEADER, same, sign
from .checksum import CHECKSUM_BYTES, checksum
from .error import BulkUnavailableError
from .limits import KIB, TransportLimits

_CHUNK = 256 * KIB  # small enough that the checksum reads it from the cache right before the kernel does


class BulkObject(Protocol):
    """An object that is being sent. Its memory stays as it is until `release`."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    @property
    def tag(self) -> str:
        """Names the content: objects with the same name and tag are alike, byte for byte. ASCII without quotes."""
        ...

    async def ready(self, start: int, stop: int) -> None:
        """Wait until the bytes from `start` to `stop` are there.

        Raises:
            KeyError: they will not be.
        """
        ...

    def view(self, start: int, stop: int) -> memoryview:
        """The bytes from `start` to `stop`, without a copy."""
        ...

    def checksum(self, start: int, stop: int) -> int | None:
        """Their checksum as this process received it with them, so that errors of its own are noticed, too.

        None where it is to be computed.
        """
        ...

    def release(self) -> None:
        """The range has been sent, or never will be."""
        ...


class BulkSource(Protocol):
    """Where a process's objects are found."""

    async def open(self, name: str) -> BulkObject:
        """Pin an object. Called once a range, on the loop.

        Raises:
            KeyError: there is none of that name. BulkUnavailableError: there is, but it cannot be had now.
        """
        ...


def bulk_proof(key: bytes, name: str, byte_range: str, nonce: str) -> str:
    """What shows that a request comes from the peer of the channel."""
    return sign(key, "bulk request", name, byte_range, nonce)


class BulkServer:
    """Answers requests for ranges. `key_of` gives the key shared with a peer, None where there is no channel to it."""

    def __init__(self, source: BulkSource, key_of: Callable[[str], bytes | None], limits: TransportLimits) -> None:
        self._source = source
        self._key_of = key_of
        self._limits = limits

    async def handle(self, request: BaseRequest, admitted: Callable[[], None]) -> StreamResponse:
        """Answer one request; `admitted` is called when it has proved where it comes from."""
        name = unquote(request.rel_url.raw_path.removeprefix("/bulk/"))
        if not self._authentic(request, name):
            return _refuse(HTTPStatus.FORBIDDEN, "the request is not signed by a process with a channel to this one")
        admitted()
        try:
            found = await self._source.open(name)
        except KeyError:
            return _refuse(HTTPStatus.NOT_FOUND, "there is no object of that name here")
        except BulkUnavailableError as error:
            return _refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        try:
            return await self._answer(request, found)
        finally:
            found.release()

    def _authentic(self, request: BaseRequest, name: str) -> bool:
        headers = request.headers
        key = self._key_of(headers.get(PROCESS_HEADER, ""))
        if not key:
            return False
        expected = bulk_proof(key, name, headers.get("Range", ""), headers.get(NONCE_HEADER, ""))
        return same(headers.get(PROOF_HEADER, ""), expected)

    async def _answer(self, request: BaseRequest, found: BulkObject) -> StreamResponse:
        byte_range = _parse_range(request.headers.get("Range", ""))
        if byte_range is None or not 0 <= byte_range[0] < byte_range[1] <= found.size:
            return _refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, f"the object has {found.size} bytes")
        try:
            await found.ready(*byte_range)
        except KeyError:
            return _refuse(HTTPStatus.NOT_FOUND, "the object was to come here, and does not")
        if request.headers.get("If-Match", f'"{found.tag}"') != f'"{found.tag}"':
            return _refuse(HTTPStatus.PRECONDITION_FAILED, "the object here is another one of that name")
        return await self._send(request, found, *byte_range)

    async def _send(self, request: BaseRequest, found: BulkObject, start: int, stop: int) -> StreamResponse:
        response = StreamResponse(
            status=HTTPStatus.PARTIAL_CONTENT,
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Length": str(stop - start + CHECKSUM_BYTES),
                "Content-Range": f"bytes {start}-{stop - 1}/{found.size}",
                "ETag": f'"{found.tag}"',
            },
        )
        # A reader that leaves is no failure of this process; aiohttp sees that its connection is gone, and is silent.
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await self._write_all(request, response, found, start, stop)
        return response

    async def _write_all(
        self, request: BaseRequest, response: StreamResponse, found: BulkObject, start: int, stop: int
    ) -> None:
        known = found.checksum(start, stop)
        value = 0
        for position in range(start, stop, _CHUNK):
            chunk = found.view(position, min(position + _CHUNK, stop))
            if known is None:
                value = checksum(chunk, value)
            await self._write(request, response.write(chunk))
        value = value if known is None else known
        await self._write(request, self._end(request, response, value.to_bytes(CHECKSUM_BYTES, "big")))

    @staticmethod
    async def _end(request: BaseRequest, response: StreamResponse, last: bytes) -> None:
        """Write the last bytes, and wait until all have left: the connection's buffer is no copy of the object."""
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The reader is gone.")
        transport.set_write_buffer_limits(0)
        try:
            await response.write_eof(last)
        finally:
            if not transport.is_closing():
                transport.set_write_buffer_limits()

    async def _write(self, request: BaseRequest, writing: Awaitable[None]) -> None:
        """Write, but do not keep the object pinned for a reader that takes nothing."""
        try:
            async with asyncio.timeout(self._limits.silence):
                await writing
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("The reader has taken nothing for too long.") from None


def _parse_range(text: str) -> tuple[int, int] | None:
    """(start, stop) of "bytes=first-last", or None for anything else."""
    unit, _, numbers = text.partition("=")
    first, _, last = numbers.partition("-")
    if unit != "bytes" or not (first.isdecimal() and last.isdecimal()) or len(numbers) > 40:  # noqa: PLR2004
        return None
    return int(first), int(last) + 1


def _refuse(status: HTTPStatus, reason: str) -> Response:
    shown = reason.encode("ascii", "replace").decode().replace("\n", " ")
    return Response(status=status, headers={REASON_HEADER: shown})
