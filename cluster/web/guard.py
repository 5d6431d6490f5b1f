"""Who may speak to the head's web server: the one place where that is decided.

A request must carry the cluster's token (`Authorization: Bearer …`), which no browser adds by itself. It must name this
server by an address or by a name that is its own, so that a page whose name was made to point here (DNS rebinding) gets
nothing; and if a page sends it, that page must be the server's own. Until all of this is so, nothing of the request's
body is read, and its connection is one of a limited number, for a limited time.
"""

import asyncio
import hmac
import ipaddress
import logging
import socket
from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestHandler

_STRANGERS = 128
"""Connections that have not shown the token, at a time; when there are more, the oldest is cut."""
_PATIENCE_S = 10.0
"""How long such a connection lives."""
LINGER_S = 0.5
"""How long a connection may send what nobody reads, after the answer that says so."""
_LONGEST_TOKEN = 256
_SILENCE_S = 1.0
"""At most one refusal is logged in so long."""
_LONGEST_PATH = 200
_SAME_SITE = {"same-origin", "none"}

logger = logging.getLogger(__name__)


class Guard:
    """Lets requests pass, or not. On the running loop.

    Args:
        token: the cluster's.
        names: further names under which the server is reached.
    """

    def __init__(self, token: str, names: Iterable[str] = ()) -> None:
        self._token = token.encode()
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}
        self._strangers: dict[RequestHandler, asyncio.TimerHandle] = {}
        self._refused = 0
        self._silent_until = 0.0

    def greet(self, connection: RequestHandler) -> RequestHandler:
        """A connection begins: it has to show the token soon."""
        timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._cut, connection)
        self._strangers[connection] = timer
        if len(self._strangers) > _STRANGERS:
            self._cut(next(iter(self._strangers)))
        return connection

    def close(self) -> None:
        """Wait for nobody any more."""
        for timer in self._strangers.values():
            timer.cancel()
        self._strangers.clear()

    def middleware(self) -> Middleware:
        """For an application: it comes before all else."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = self._refusal(request)
            if refusal is not None:
                refusal.force_close()
                self._note(request, refusal.text or "")
                return refusal
            timer = self._strangers.pop(request.protocol, None)
            if timer is not None:
                timer.cancel()
            return await handler(request)

        return check

    def _note(self, request: web.Request, reason: str) -> None:
        """Log a refusal; not each of many, which would let strangers fill the disk."""
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE_S
            path = request.path[:_LONGEST_PATH]
            logger.warning(
                "refused %s %r from %s (refusal %d): %s", request.method, path, request.remote, self._refused, reason
            )

    def _refusal(self, request: web.Request) -> web.Response | None:
        host = request.headers.get("Host", "")
        if not self._is_own(host):
            return web.Response(status=403, text="This server is not known by the name that the request has for it.")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{host}":
            return web.Response(status=403, text="Pages of other sites may not use this server.")
        if request.headers.get("Sec-Fetch-Site", "none") not in _SAME_SITE:
            return web.Response(status=403, text="Pages of other sites may not use this server.")
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        given = shown.strip()[:_LONGEST_TOKEN].encode(errors="replace")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._token):
            text = "The cluster's token is wrong." if shown else "The cluster's token is missing."
            text += " `cluster token` on the head's machine prints it; LIMELIGHT_TOKEN=… passes it on."
            return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"})
        return None

    def _is_own(self, host: str) -> bool:
        """Addresses cannot be made to point elsewhere, names can."""
        name, colon, port = host.rpartition(":")
        if not colon or not port.isdecimal():
            name = host
        if name.lower() in self._names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def _cut(self, connection: RequestHandler) -> None:
        timer = self._strangers.pop(connection, None)
        if timer is not None:
            timer.cancel()
        if connection.transport is not None:
            connection.transport.abort()
