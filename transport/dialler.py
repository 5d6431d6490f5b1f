"""Dials a process: the client side of the handshake in auth.py, with every failure as one of this package's errors."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Generator
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp

from .address import ProcessAddress
from .auth import (
    HELLO_HEADER,
    HOST,
    NONCE_HEADER,
    PROCESS_HEADER,
    PROOF_HEADER,
    REASON_HEADER,
    VERSION_HEADER,
    Challenge,
    new_nonce,
    same,
)
from .error import AuthenticationError, ConnectError, StaleChallengeError, TlsError, VersionMismatchError
from .gate import connect
from .limits import TransportLimits
from .link import Link
from .protocol import DECODE_ERRORS, PROTOCOL_VERSION, Hello, Welcome, encode, welcome_decoder
from .tls import explain

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # the caller's deadline rules


class _Connector(aiohttp.BaseConnector):
    """Makes one connection, and can drop it at once, which aiohttp's websocket cannot."""

    _connection: Any = None

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109  (aiohttp's signature)
        self._connection = await super().connect(req, traces, timeout)
        return self._connection

    def let_go(self) -> None:
        """Close what a websocket still holds that was not read to its end."""
        if self._connection is not None:
            self._connection.close()

    def abort(self) -> None:
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.abort()


class _UnixConnector(_Connector, aiohttp.UnixConnector):
    pass


class _TcpConnector(_Connector):
    """Says which process the connection is for before HTTP, or TLS, begins (gate.py)."""

    def __init__(self, target: str, process_id: str, tls: ssl.SSLContext | None) -> None:
        super().__init__(limit=1)
        self._target = target
        self._process_id = process_id
        self._tls = tls

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ARG002, ASYNC109 (aiohttp's)
        try:
            return await connect(self._factory, self._target, self._process_id, self._tls)
        except OSError as error:  # also errors of TLS
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error


class Dial:
    """One attempt to connect, as an async context manager: what was not handed out as a `Link` is closed at the end.

    First `challenge`, which says who answers and that it holds the token, then `upgrade`. The caller sets the deadline.
    """

    def __init__(
        self,
        own_id: str,
        address: ProcessAddress,
        route: str,
        token: bytes,
        limits: TransportLimits,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._own_id = own_id
        self._wanted = address.process_id
        self._route = route
        self._token = token
        self._limits = limits
        self._tls = tls
        self._local = route.startswith("unix:")
        self._challenge: Challenge | None = None
        self._handed_out = False

    async def __aenter__(self) -> Self:
        kind, _, target = self._route.partition(":")
        if kind == "unix":
            self._connector: _Connector = _UnixConnector(target)
            self._url = "http://localhost/channel"
        else:
            self._connector = _TcpConnector(target, self._wanted, self._tls)
            self._url = "http://localhost/channel"
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._handed_out:
            await self._close()

    async def _close(self) -> None:
        self._connector.let_go()
        await self._session.close()

    async def challenge(self) -> Challenge:
        """Ask for a challenge and check the server's proof; returns it.

        Raises:
            ConnectError: nobody there, or not a process of ours. AuthenticationError: it holds another token, or is
            another process than the one wanted. VersionMismatchError.
        """
        nonce = new_nonce()
        headers = {
            "Host": HOST,
            VERSION_HEADER: str(PROTOCOL_VERSION),
            PROCESS_HEADER: self._own_id,
            NONCE_HEADER: nonce,
        }
        with self._mapped_errors():
            async with self._session.get(self._url, headers=headers, allow_redirects=False) as response:
                status, answer = response.status, response.headers
        self._check_version(answer.get(VERSION_HEADER, ""))
        if status == HTTPStatus.UPGRADE_REQUIRED:
            raise TlsError(
                f"The process at {self._route} speaks TLS, and this one does not: give --tls-cert and --tls-key here, "
                "too, or LIMELIGHT_TLS_CERT and LIMELIGHT_TLS_KEY."
            )
        server, server_nonce = answer.get(PROCESS_HEADER, ""), answer.get(NONCE_HEADER, "")
        if status != HTTPStatus.UNAUTHORIZED or not server or not server_nonce:
            reason = answer.get(REASON_HEADER, f"HTTP status {status}")
            raise ConnectError(f"The process at {self._route} refused to talk: {reason}.")
        if self._wanted and server != self._wanted:
            raise ConnectError(
                f"Process {self._wanted} is gone: process {server} answers at {self._route} now.", final=True
            )
        challenge = Challenge(self._own_id, server, nonce, server_nonce)
        if not same(answer.get(PROOF_HEADER, ""), challenge.server_proof(self._token)):
            raise AuthenticationError(
                f"The process at {self._route} does not hold this cluster's token. "
                "Check that both sides use the same token file, and that the address belongs to this cluster."
            )
        self._challenge = challenge
        return challenge

    async def upgrade(self, hello: Hello) -> tuple[Link, Welcome]:
        """Ask for the channel. The `Welcome` may be a refusal; the link is then of no further use.

        Raises:
            ConnectError: the connection broke, or the peer does not speak the protocol. AuthenticationError.
            StaleChallengeError.
        """
        challenge = self._challenge or await self.challenge()
        hello_text = base64.b64encode(encode(hello)).decode()
        headers = {
            "Host": HOST,
            NONCE_HEADER: challenge.server_nonce,
            HELLO_HEADER: hello_text,
            PROOF_HEADER: challenge.client_proof(self._token, hello_text),
        }
        with self._mapped_errors():
            websocket = await self._session.ws_connect(
                self._url,
                headers=headers,
                compress=0,
                autoping=False,
                max_msg_size=self._limits.websocket_message,
            )
            first = await websocket.receive()
        if first.type is not aiohttp.WSMsgType.BINARY:
            raise ConnectError(f"The connection to {self._route} ended before the peer said welcome.")
        try:
            welcome = welcome_decoder.decode(first.data)
        except DECODE_ERRORS as error:
            raise ConnectError(f"The process at {self._route} did not say welcome: {error}") from error
        self._handed_out = True
        return Link(websocket, self._connector.abort, self._close, local=self._local), welcome

    def _check_version(self, version: str) -> None:
        if version and version != str(PROTOCOL_VERSION):
            raise VersionMismatchError(
                f"The process at {self._route} speaks version {version} of the protocol, this one version "
                f"{PROTOCOL_VERSION}: install the same version of limelight on both sides."
            )

    @contextlib.contextmanager
    def _mapped_errors(self) -> Generator[None]:
        try:
            yield
        except aiohttp.WSServerHandshakeError as error:
            reason = (error.headers or {}).get(REASON_HEADER, f"HTTP status {error.status}")
            stale = error.status == HTTPStatus.UNAUTHORIZED
            kind = StaleChallengeError if stale else AuthenticationError
            raise kind(f"The process at {self._route} refused the connection: {reason}.") from error
        except aiohttp.ClientConnectorError as error:
            gone = isinstance(error.os_error, ConnectionRefusedError | FileNotFoundError)
            hint = " Nobody listens there: the process has ended, or the address is wrong." if gone else ""
            kind = TlsError if isinstance(error.os_error, ssl.SSLError) else ConnectError
            raise kind(
                f"Cannot connect to {self._route}: {explain(error.os_error)}.{hint}", final=gone and self._local
            ) from error
        except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError) as error:
            hint = ""
            if self._tls is not None and isinstance(error, aiohttp.ServerDisconnectedError):
                hint = (
                    " It says no word to a certificate that has expired, or that an authority has signed which it does "
                    "not know: compare the authority's file (ca.pem) on both machines."
                )
            raise ConnectError(
                f"The connection to {self._route} broke during the handshake: {error!r}.{hint}"
            ) from error
