"""Reads the answer to a request for a range into the caller's memory. Sans-I/O, without a copy of the body.

HTTP/1.1 as bulk.py sends it: a status line, headers with a Content-Length and an ETag, the bytes, a CRC-32.
"""

import re
from http import HTTPStatus

from .auth import REASON_HEADER
from .checksum import CHECKSUM_BYTES, checksum
from .error import (
    BulkChangedError,
    BulkChecksumError,
    BulkError,
    BulkNotFoundError,
    BulkUnavailableError,
    ProtocolError,
)

_MOST_HEAD = 8192  # bytes of status line and headers
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_REFUSALS: dict[int, type[BulkError]] = {
    HTTPStatus.NOT_FOUND: BulkNotFoundError,
    HTTPStatus.PRECONDITION_FAILED: BulkChangedError,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: BulkChangedError,
    HTTPStatus.SERVICE_UNAVAILABLE: BulkUnavailableError,
}


class BulkResponse:
    """One answer. Ask for a `buffer`, fill it, say how much was `filled`; until `done`.

    Attributes:
        done: the range is complete and its checksum is right.
        begun: the headers are there; the range follows.
        received: bytes of the range that have arrived.
        tag: names the content of the object that the range is of.
        checksum: that of what has arrived.
    """

    __slots__ = (
        "_head",
        "_head_size",
        "_into",
        "_size",
        "_tail",
        "_tail_size",
        "begun",
        "checksum",
        "done",
        "received",
        "tag",
    )

    def __init__(self, into: memoryview, size: int) -> None:
        """Expect a range of `len(into)` bytes of an object of `size` bytes."""
        self.done = False
        self.received = 0
        self.tag = ""
        self._into = into
        self._size = size
        self._head = bytearray(_MOST_HEAD)
        self._head_size = 0
        self.begun = False
        self._tail = bytearray(CHECKSUM_BYTES)
        self._tail_size = 0
        self.checksum = 0

    def buffer(self) -> memoryview:
        """Where the next bytes from the connection go. Never empty before `done`."""
        if not self.begun:
            return memoryview(self._head)[self._head_size :]
        if self.received < len(self._into):
            return self._into[self.received :]
        return memoryview(self._tail)[self._tail_size :]

    def filled(self, count: int) -> None:
        """So many bytes were written into the last buffer.

        Raises:
            BulkNotFoundError, BulkError: the peer refuses. BulkChecksumError: the bytes are not what was sent.
            ProtocolError: this is no answer of ours.
        """
        if not self.begun:
            self._on_head(count)
        elif self.received < len(self._into):
            self._on_body(count)
        else:
            self._on_tail(count)

    def _on_head(self, count: int) -> None:
        size = self._head_size = self._head_size + count
        end = self._head.find(b"\r\n\r\n", 0, size)
        if end < 0:
            if size == _MOST_HEAD:
                raise ProtocolError(f"The answer has no end of headers in its first {size} bytes.")
            return
        self._check_head(bytes(self._head[:end]))
        self.begun = True
        rest = memoryview(self._head)[end + 4 : size]
        while rest and not self.done:  # what came with the headers
            place = self.buffer()
            part = rest[: len(place)]
            place[: len(part)] = part
            self.filled(len(part))
            rest = rest[len(part) :]
        if rest:
            raise ProtocolError("The answer goes on after its end.")

    def _check_head(self, head: bytes) -> None:
        status_line, _, rest = head.partition(b"\r\n")
        status = _STATUS.match(status_line)
        if status is None:
            raise ProtocolError(f"Not an answer to a bulk request: {status_line[:60]!r}.")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in rest.decode("latin-1").split("\r\n"))
        }
        code = int(status[1])
        if code != HTTPStatus.PARTIAL_CONTENT:
            reason = headers.get(REASON_HEADER.lower(), f"HTTP status {code}")
            raise _REFUSALS.get(code, BulkError)(f"The peer refused: {reason}.")
        if headers.get("content-length") != str(len(self._into) + CHECKSUM_BYTES):
            raise ProtocolError(f"The answer's length is {headers.get('content-length')}, not that of the range.")
        if not headers.get("content-range", "").endswith(f"/{self._size}"):
            raise BulkChangedError(
                f"The object is not of the expected {self._size} bytes: {headers.get('content-range')}."
            )
        self.tag = headers.get("etag", "").strip('"')

    def _on_body(self, count: int) -> None:
        start = self.received
        self.received = start + count
        self.checksum = checksum(self._into[start : self.received], self.checksum)

    def _on_tail(self, count: int) -> None:
        self._tail_size += count
        if self._tail_size < CHECKSUM_BYTES:
            return
        expected = int.from_bytes(self._tail, "big")
        if expected != self.checksum:
            raise BulkChecksumError(f"The range has checksum {self.checksum:08x}, and was sent with {expected:08x}.")
        self.done = True
