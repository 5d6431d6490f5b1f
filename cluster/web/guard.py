"""Who may speak to an HTTP port of a cluster: whoever holds its token, and no web page on anybody's behalf.

A browser can be made to send a request anywhere, also to ports of the machine it runs on. Three things keep such a
request out, each by itself: it has no token, for that is taken from the `Authorization` header only, which no page can
have a browser fill in for it; its `Host` is the page's own name, where DNS was made to point that name here (DNS
rebinding); and its `Origin` (RFC 6454) or `Sec-Fetch-Site` says that another site asks. All methods are treated alike,
and what a `User-Agent` says counts for nothing.
"""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus

import msgspec
from aiohttp import web

_SCHEME = "bearer"
_OWN_SITE = {"same-origin", "none"}
"""Values of Sec-Fetch-Site (W3C Fetch Metadata): this site's own pages, and an address that somebody typed."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a request is not served.

    Attributes:
        status: of HTTP.
        reason: for whoever asked; tells nothing of the cluster.
    """

    status: HTTPStatus
    reason: str


class Guard:
    """Judges requests by their headers, before anything of their body is read.

    Args:
        token: the cluster's, in hexadecimal.
        names: host names by which people reach the port, besides "localhost" and addresses in numbers, which no DNS
            server has a say in.
    """

    def __init__(self, token: str, names: Collection[str] = ()) -> None:
        if not token:
            raise ValueError("A port without a token would be everybody's.")
        self._token = token.encode()
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}

    def judge(self, headers: Mapping[str, str], *, public: bool = False) -> Refusal | None:
        """Whether a request is refused; None: it is not.

        Args:
            headers: of the request; names in any case (aiohttp's are such a mapping).
            public: what is asked for is no secret, such as a page without data: it needs no token.
        """
        host = headers.get("Host", "")
        if not self._is_ours(host):
            return Refusal(
                HTTPStatus.FORBIDDEN,
                "this port is not known by the name that the request has in Host: use its address in numbers",
            )
        origin = headers.get("Origin")
        if origin is not None and origin.lower() not in {f"http://{host}".lower(), f"https://{host}".lower()}:
            return Refusal(HTTPStatus.FORBIDDEN, "a page of another site asks (Origin)")
        if headers.get("Sec-Fetch-Site", "none").lower() not in _OWN_SITE:
            return Refusal(HTTPStatus.FORBIDDEN, "a page of another site asks (Sec-Fetch-Site)")
        if not public and not self._holds_token(headers.get("Authorization", "")):
            return Refusal(
                HTTPStatus.UNAUTHORIZED,
                "the cluster's token is needed: `Authorization: Bearer <token>`, with what `cluster token` prints",
            )
        return None

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host).lower().rstrip(".")
        return name in self._names or _is_address(name)

    def _holds_token(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        known = hmac.compare_digest(given.strip().encode(errors="replace"), self._token)
        return known and scheme.lower() == _SCHEME

    @property
    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """For `aiohttp.web.Application(middlewares=[...])`: also what is not there is not there for strangers."""

        @web.middleware
        async def guarded(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            refusal = self.judge(request.headers)
            if refusal is None:
                return await handler(request)
            response = web.json_response({"error": refusal.reason}, status=refusal.status)
            if refusal.status is HTTPStatus.UNAUTHORIZED:
                response.headers["WWW-Authenticate"] = "Bearer"
            response.force_close()  # its body, which nobody reads, may be long
            return response

        return guarded


def _without_port(host: str) -> str:
    """The name of "name:port", the address of "[address]:port"."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
