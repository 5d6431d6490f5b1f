"""Listens for processes: binds the sockets, and lets nobody in who does not pass the handshake in auth.py."""

import asyncio
import base64
import binascii
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

# Not `aiohttp.web`, which is these and as much again: applications, routes, files. It takes 12 ms longer to import.
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from aiohttp.web_server import Server
from aiohttp.web_ws import WebSocketResponse

from .anteroom import Anteroom
from .auth import (
    HELLO_HEADER,
    HOST,
    NONCE_DIGITS,
    NONCE_HEADER,
    PROCESS_HEADER,
    PROOF_HEADER,
    REASON_HEADER,
    VERSION_HEADER,
    Challenge,
    new_nonce,
    same,
)
from .error import AddressInUseError
from .gate import Gate, Inlet, InletOf
from .limits import TransportLimits
from .link import Link
from .protocol import DECODE_ERRORS, PROTOCOL_VERSION, Hello, hello_decoder
from .stranger import Stranger

_log = logging.getLogger(__name__)

OnHello = Callable[[Hello, Challenge, Link], Awaitable[None]]
"""A process has authenticated: answer its `Hello` on the link, and use the link until it ends."""
OnBulk = Callable[[BaseRequest, Callable[[], None]], Awaitable[StreamResponse]]
"""Answer a request for a bulk stream; call the second argument when it has authenticated."""

_MOST_NAME = 64  # characters of a process id


class Listener:
    """The server side of an endpoint, on a Unix socket, a TCP port, or both."""

    def __init__(
        self, process_id: str, token: bytes, limits: TransportLimits, on_hello: OnHello, on_bulk: OnBulk | None
    ) -> None:
        self._process_id = process_id
        self._token = token
        self._limits = limits
        self._on_hello = on_hello
        self._on_bulk = on_bulk
        self._loop = asyncio.get_running_loop()
        self._http = Server(self._handle)
        self._plain_http = Server(_want_tls)
        self._strangers: Anteroom[Stranger] = Anteroom(limits.handshakes, limits.handshake, Stranger.expel)
        self._servers: list[asyncio.Server] = []
        self._gate: Gate | None = None
        self._inlet: Inlet | None = None
        self._handed: Anteroom[asyncio.Task[None]] = Anteroom(limits.handshakes, limits.handshake, _cancel)
        self._taking: dict[asyncio.Task[None], socket.socket] = {}
        self._socket_file: Path | None = None

    async def listen_unix(self, path: str) -> None:
        """Bind a Unix socket. A socket that a dead process left behind is replaced.

        Raises:
            AddressInUseError: somebody listens there. OSError: the path is too long or not writable.
        """
        if is_listening(path):
            raise AddressInUseError(
                f"Another process listens on the Unix socket {path}; `ss -xlp src {path}` names it."
            )
        self._servers.append(await self._loop.create_unix_server(self._accept, path, backlog=1024))
        self._socket_file = Path(path)
        self._socket_file.chmod(0o600)

    def listen_tcp(self, host: str, port: int, tls: ssl.SSLContext | None, inlet_of: InletOf | None) -> int:
        """Bind a TCP port (0: any free one); returns the port. Connections for others go to them: see gate.py.

        Raises:
            AddressInUseError: the port is taken. OSError: the host is not an address of this machine.
        """

        async def take(connection: socket.socket, secure: bool) -> None:
            await self._take(connection, tls if secure else None, self._refuse_plain if tls and not secure else None)

        self._gate = Gate(self._process_id, self._limits, take, tls is not None, inlet_of)
        try:
            return self._gate.listen(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise AddressInUseError(
                f"Port {port} on {host} is taken; `ss -ltnp sport = :{port}` names the process that has it. "
                "End it, or choose another port (0 picks a free one)."
            ) from error

    def open_inlet(self, path: str, tls: ssl.SSLContext | None) -> None:
        """Take the connections that the gate of this host hands over."""

        def take(connection: socket.socket) -> None:
            task = self._loop.create_task(self._take(connection, tls))
            self._handed.enter(task)
            self._taking[task] = connection
            task.add_done_callback(self._taken)

        self._inlet = Inlet(path, take)

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._handed.leave(task)
        connection = self._taking.pop(task)
        if task.cancelled():  # maybe before its first step
            connection.close()

    async def _take(
        self,
        connection: socket.socket,
        tls: ssl.SSLContext | None,
        protocol: Callable[[], Stranger] | None = None,
    ) -> None:
        """Serve a connection that was accepted. Ends when the handshake of TLS does."""
        handshake = self._limits.handshake if tls else None
        made: list[Stranger] = []

        def make() -> Stranger:
            made.append(protocol() if protocol else self._accept())
            return made[-1]

        try:
            await self._loop.connect_accepted_socket(make, connection, ssl=tls, ssl_handshake_timeout=handshake)
        except BaseException as error:
            connection.close()
            for stranger in made:
                stranger.dropped()
            if not isinstance(error, OSError):  # which errors of TLS are, too
                raise
            _log.debug("a connection ended before it was served: %r", error)

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        for server in self._servers:
            server.close()
        if self._gate is not None:
            await self._gate.close()
        if self._inlet is not None:
            self._inlet.close()
        self._handed.clear()
        for task in list(self._taking):
            task.cancel()
        await asyncio.gather(*self._taking, return_exceptions=True)
        if self._socket_file is not None:
            self._socket_file.unlink(missing_ok=True)
        self._strangers.clear()
        for connection in self._http.connections + self._plain_http.connections:
            if connection.transport is not None:
                connection.transport.abort()  # closing would wait for a peer that does not read
        # With 0 aiohttp would wait for those who answer for as long as it takes.
        await asyncio.gather(*(http.shutdown(self._limits.close) for http in (self._http, self._plain_http)))
        for server in self._servers:
            await server.wait_closed()

    def _accept(self) -> Stranger:
        return Stranger(self._http, self._strangers)

    def _refuse_plain(self) -> Stranger:
        return Stranger(self._plain_http, self._strangers)

    # The handshake

    async def _handle(self, request: BaseRequest) -> StreamResponse:
        headers, connection = request.headers, request.protocol
        assert isinstance(connection, Stranger)  # noqa: S101 - see `_accept`
        if headers.get("Host") != HOST or "Origin" in headers:
            return _refuse(403, "this port is for limelight processes, not for browsers")
        if request.method != "GET":
            return _refuse(405, "only GET is known here")
        if request.path != "/channel":
            if self._on_bulk is None or not request.path.startswith("/bulk/"):
                return _refuse(404, "there is nothing of that name here")
            return await self._on_bulk(request, connection.admitted)
        if PROOF_HEADER in headers:
            return await self._upgrade(request, connection)
        return self._give_challenge(request, connection)

    def _give_challenge(self, request: BaseRequest, connection: Stranger) -> StreamResponse:
        version = request.headers.get(VERSION_HEADER, "")[:_MOST_NAME]
        client = request.headers.get(PROCESS_HEADER, "")
        nonce = request.headers.get(NONCE_HEADER, "")
        if version != str(PROTOCOL_VERSION):
            return _refuse(
                400, f"the dialler speaks version {version!r} of the protocol, this process {PROTOCOL_VERSION}"
            )
        if not 0 < len(client) <= _MOST_NAME or len(nonce) != NONCE_DIGITS:
            return _refuse(400, "the dialler's process id or nonce is missing or of the wrong length")
        challenge = Challenge(client, self._process_id, nonce, new_nonce())
        connection.challenge = challenge
        return Response(
            status=401,
            headers={
                VERSION_HEADER: str(PROTOCOL_VERSION),
                PROCESS_HEADER: self._process_id,
                NONCE_HEADER: challenge.server_nonce,
                PROOF_HEADER: challenge.server_proof(self._token),
            },
        )

    async def _upgrade(self, request: BaseRequest, connection: Stranger) -> StreamResponse:
        headers = request.headers
        hello_text = headers.get(HELLO_HEADER, "")
        challenge = connection.take_challenge()
        if challenge is None or challenge.server_nonce != headers.get(NONCE_HEADER, ""):
            return _refuse(401, "the challenge is not the one that this connection was given; dial again")
        if not same(headers[PROOF_HEADER], challenge.client_proof(self._token, hello_text)):
            return _refuse(403, "the dialler does not hold this cluster's token")
        try:
            hello = hello_decoder.decode(base64.b64decode(hello_text, validate=True))
        except (binascii.Error, *DECODE_ERRORS) as error:
            return _refuse(400, f"the hello cannot be read: {error}")
        if hello.address.process_id != challenge.client:
            return _refuse(403, "the hello comes from another process than the challenge was for")
        transport = request.transport
        if transport is None:
            return _refuse(400, "the connection is gone")
        websocket = WebSocketResponse(
            compress=False, autoping=False, max_msg_size=self._limits.websocket_message, timeout=self._limits.close
        )
        await websocket.prepare(request)
        connection.admitted()
        local = transport.get_extra_info("socket").family == socket.AF_UNIX
        await self._on_hello(hello, challenge, Link(websocket, transport.abort, local=local))
        return websocket


def is_listening(path: str) -> bool:
    """Whether somebody listens on a Unix socket. Asks the kernel, does not wait."""
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) not in {errno.ECONNREFUSED, errno.ENOENT}


def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()


async def _want_tls(_: BaseRequest) -> StreamResponse:
    return _refuse(HTTPStatus.UPGRADE_REQUIRED, "this cluster speaks TLS")


def _refuse(status: int, reason: str) -> Response:
    shown = reason.encode("ascii", "replace").decode()
    response = Response(status=status, headers={VERSION_HEADER: str(PROTOCOL_VERSION), REASON_HEADER: shown})
    response.force_close()
    return response
