"""Who may speak to the head's web server: the one place where that is decided.

A request must carry the cluster's token (`Authorization: Bearer …`), which no browser adds by itself. It must name this
server by an address or by a name that is its own, so that a page whose name was made to point here (DNS rebinding) gets
nothing; and if a page sends it, that page must be the server's own. Until all of this is so, nothing of the request's
body is read, and its connection is one of a limited number, for a limited time.
"""

import hmac
import ipaddress
import logging
import socket
from collections.abc import Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_server import Server

from ...transport.anteroom import Anteroom
from ...transport.limits import MIB
from ...transport.seldom import Seldom
from ...transport.stranger import Stranger

_MOST_BYTES = 2 * MIB
"""What a connection may send before it shows the token: headers, and what of a body comes in the same breath."""
LINGER_S = 0.5
"""How long a connection may send what nobody reads, after the answer that says so."""
_LONGEST_TOKEN = 256
_LONGEST_PATH = 200
_SAME_SITE = {"same-origin", "none"}

_refusals = Seldom(logging.getLogger(__name__))


class Guard:
    """Lets requests pass, or not. On the running loop.

    Args:
        token: the cluster's.
        names: further names under which the server is reached.
        strangers: how many connections may not have shown the token, at a time; the oldest gives way.
        patience: how many seconds such a connection lives.
    """

    def __init__(self, token: str, names: Iterable[str] = (), *, strangers: int = 128, patience: float = 10.0) -> None:
        self._token = token.encode()
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}
        self._strangers: Anteroom[Stranger] = Anteroom(strangers, patience, Stranger.expel)

    def greet(self, server: Server) -> Stranger:
        """A connection to the server begins: it has to show the token soon."""
        return Stranger(server, self._strangers, _MOST_BYTES, LINGER_S)

    def close(self) -> None:
        """Wait for nobody any more."""
        self._strangers.clear()

    def middleware(self) -> Middleware:
        """For an application: it comes before all else."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = self._refusal(request)
            if refusal is not None:
                refusal.force_close()
                path = request.path[:_LONGEST_PATH]
                _refusals.warn("refused %s %r from %s: %s", request.method, path, request.remote, refusal.text)
                return refusal
            if isinstance(request.protocol, Stranger):
                request.protocol.admitted()
            return await handler(request)

        return check

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
