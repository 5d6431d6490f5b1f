"""Messages with file descriptors between the node process and its zygote, over a Unix stream socket.

A message is a 4-byte little-endian length and that many bytes. Descriptors travel with the first byte of their
message, and the kernel never merges two sets of them into one read, so sets and messages stay in step.
"""

import array
import os
import socket
from collections import deque
from collections.abc import Sequence

import msgspec

from .spawn import ProcessExit, SpawnRequest

_LENGTH_SIZE = 4
_READ_SIZE = 1 << 16
_MAX_DESCRIPTORS = 4


class Spawn(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """Node to zygote, with two descriptors: fork a worker."""

    request: SpawnRequest


class Signal(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """Node to zygote: signal a worker if it still lives."""

    spawn_id: str
    signum: int


class Spawned(msgspec.Struct, tag=3, array_like=True, frozen=True):
    """Zygote to node: the worker runs."""

    spawn_id: str
    pid: int


class SpawnFailed(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """Zygote to node: the worker could not be forked."""

    spawn_id: str
    errno: int
    reason: str


class Exited(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """Zygote to node: the worker has ended. Sent once for each `Spawned`, after it."""

    exit: ProcessExit


Request = Spawn | Signal
Report = Spawned | SpawnFailed | Exited

_encoder = msgspec.msgpack.Encoder()
request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
report_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


class ControlSocket:
    """One end of the socket, non-blocking. Owns the socket and every descriptor that is queued on it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._outgoing: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._incoming = bytearray()
        self._descriptor_sets: deque[list[int]] = deque()

    def fileno(self) -> int:
        """For poll and `add_reader`."""
        return self._sock.fileno()

    def send(self, message: Request | Report, descriptors: Sequence[int] = ()) -> bool:
        """Queue a message and send what can be sent; true when nothing is left over. Takes over the descriptors.

        Raises:
            OSError: the other end is gone.
        """
        body = _encoder.encode(message)
        self._outgoing.append((memoryview(len(body).to_bytes(_LENGTH_SIZE, "little") + body), tuple(descriptors)))
        return self.flush()

    def flush(self) -> bool:
        """Send what can be sent without waiting; true when nothing is left over.

        Raises:
            OSError: the other end is gone.
        """
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                sent = self._sock.sendmsg([data], ancillary)
            except BlockingIOError:
                return False
            close_all(descriptors)
            if sent == len(data):
                self._outgoing.popleft()
            else:
                self._outgoing[0] = (data[sent:], ())
        return True

    def receive(self) -> tuple[list[bytes], bool]:
        """The complete messages that have arrived, and whether the other end has closed its side."""
        ended = False
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(
                    self._sock, _READ_SIZE, _MAX_DESCRIPTORS, getattr(socket, "MSG_CMSG_CLOEXEC", 0)
                )
            except BlockingIOError:
                break
            except ConnectionError:
                ended = True
                break
            if descriptors or flags & socket.MSG_CTRUNC:
                self._descriptor_sets.append(descriptors)
            if not data:
                ended = True
                break
            self._incoming += data
        return self._split(), ended

    def take_descriptors(self) -> list[int]:
        """The descriptors of the oldest message that had some; too few when this process is at its limit of them."""
        return self._descriptor_sets.popleft() if self._descriptor_sets else []

    def shutdown_sending(self) -> None:
        """Tell the other end that no more comes; its messages can still be received."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is gone already, which says the same

    def close(self) -> None:
        """Close the socket and every descriptor still queued. Idempotent."""
        self._sock.close()
        for _, descriptors in self._outgoing:
            close_all(descriptors)
        for descriptors in self._descriptor_sets:
            close_all(descriptors)
        self._outgoing.clear()
        self._descriptor_sets.clear()

    def _split(self) -> list[bytes]:
        messages: list[bytes] = []
        start = 0
        while len(self._incoming) - start >= _LENGTH_SIZE:
            end = start + _LENGTH_SIZE + int.from_bytes(self._incoming[start : start + _LENGTH_SIZE], "little")
            if end > len(self._incoming):
                break
            messages.append(bytes(self._incoming[start + _LENGTH_SIZE : end]))
            start = end
        del self._incoming[:start]
        return messages


def close_all(descriptors: Sequence[int]) -> None:
    """Close file descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
