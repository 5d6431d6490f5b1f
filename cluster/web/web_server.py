"""The head's web server: an address, the guard, and the routes."""

import asyncio
import errno
import logging
import ssl
from typing import TYPE_CHECKING

from aiohttp import web

from ...transport.error import AddressInUseError
from ...transport.tls import TlsConfig
from .guard import Guard
from .job_routes import add_job_routes
from .package_routes import add_package_routes

if TYPE_CHECKING:
    from ..head.head import Head

FIRST_PORT = 8265
_PORTS_TRIED = 50
_SHUTDOWN_S = 1.0
_HANDSHAKE_S = 5.0
"""How long a stranger may take over TLS's handshake, during which the guard cannot cut the connection."""

logger = logging.getLogger(__name__)


class WebServer:
    """Serves until it is closed. On the head's loop.

    Attributes:
        url: its address, for those who reach the head's machine.
    """

    def __init__(self, head: "Head", token: str, tls: TlsConfig | None = None) -> None:
        self._guard = Guard(token)
        self._tls = tls
        app = web.Application(middlewares=[self._guard.middleware()])
        add_job_routes(app, head)
        add_package_routes(app, head)
        self._runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S, handle_signals=False)
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self, host: str, port: int | None, shown_host: str) -> None:
        """Listen.

        Args:
            host: the address to bind.
            port: the port to bind; None: 8265, or the first free one after it.
            shown_host: the address for others, where `host` stands for all of this machine's.

        Raises:
            AddressInUseError: another process has the port. OSError: the address is none of this machine's.
        """
        await self._runner.setup()
        ports = [port] if port is not None else [*range(FIRST_PORT, FIRST_PORT + _PORTS_TRIED), 0]
        for number in ports:
            try:
                self._server = await self._listen(host, number)
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        if self._server is None:
            raise AddressInUseError(
                f"Another program listens at {host}:{port}: give the dashboard another --dashboard-port, or none."
            )
        bound = self._server.sockets[0].getsockname()[1]
        name = shown_host if host in {"0.0.0.0", "::"} else host  # noqa: S104 - what the user has typed
        name = f"[{name}]" if ":" in name else name
        self.url = f"{'http' if self._tls is None else 'https'}://{name}:{bound}"
        logger.info("the dashboard is at %s", self.url)

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        server = self._runner.server
        if server is None:
            raise RuntimeError("the web server is not set up")
        loop = asyncio.get_running_loop()
        context = None if self._tls is None else _context(self._tls)
        return await loop.create_server(
            lambda: self._guard.greet(server),
            host,
            port,
            ssl=context,
            ssl_handshake_timeout=_HANDSHAKE_S if context else None,
        )

    async def close(self) -> None:
        """Serve nobody any more."""
        if self._server is not None:
            self._server.close()
        self._guard.close()
        await self._runner.cleanup()


def _context(tls: TlsConfig) -> ssl.SSLContext:
    """Unlike the cluster's processes, those who come here show a token, and no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(tls.certificate, tls.key)
    return context
