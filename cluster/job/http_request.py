"""Plain HTTP requests to a web server, for callers that have no event loop, or are in one."""

import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, NamedTuple

_TIMEOUT_S = 60.0
CONNECT_S = 5.0
"""How long a machine may take to be there at all: one that has lost its power never refuses."""
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Answer(NamedTuple):
    """What a server says."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body, for people."""
        return self.body.decode(errors="replace").strip()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token along, to whoever it names."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        del req, fp, code, msg, headers, newurl


class _Connection(http.client.HTTPConnection):
    """Gives up sooner on a machine that is not there than on an answer."""

    def connect(self) -> None:
        patience, self.timeout = self.timeout, CONNECT_S
        super().connect()
        self.timeout = patience
        self.sock.settimeout(patience)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    """The same with TLS."""


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._tls = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req, context=self._tls)


class HttpRequests:
    """Sends requests to one server.

    Args:
        url: "http://host:port".
        headers: sent with each request.
        verify: of a server with TLS: True: as the machine does; False: not at all; or a file or folder of authorities.

    Attributes:
        context: for TLS; None for plain HTTP.

    Raises:
        FileNotFoundError: there is nothing at the path `verify`.
    """

    def __init__(self, url: str, headers: Mapping[str, str], verify: bool | str) -> None:
        self.url = url
        self.headers = dict(headers)
        self.context = _context(verify) if url.startswith("https://") else None
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect(), _Handler()]
        if urllib.parse.urlsplit(url).hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        if self.context is not None:
            handlers.append(_SecureHandler(self.context))
        self._opener = urllib.request.build_opener(*handlers)

    def send(self, method: str, path: str, body: bytes | IO[bytes] | None = None, size: int | None = None) -> Answer:
        """Send a request, and return the answer, whatever its status.

        Args:
            method: "GET" and so on.
            path: from the server's root.
            body: bytes, or a file that is read as it is sent.
            size: of such a file.

        Raises:
            ConnectionError: there is no answer.
        """
        headers = dict(self.headers)
        if size is not None:
            headers |= {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        elif body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as response:
                return Answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read())
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise ConnectionError(
                f"Failed to connect to the cluster's web server at {self.url}: {reason}. {_advice(self.url, reason)}"
            ) from None


def _advice(url: str, reason: object) -> str:
    """What may be wrong where there is no answer."""
    match reason:
        case ssl.SSLCertVerificationError():
            return "Name the authority that vouches for it (verify=FILE, --verify FILE), if you trust it."
        case ssl.SSLError():
            return "What listens there speaks no TLS: is it http://?"
        case ConnectionResetError() | http.client.HTTPException():  # RemoteDisconnected is both
            other = "http" if url.startswith("https://") else "https"
            return (
                f"What listens there speaks another protocol, or has ended meanwhile: is it {other}://? The head's own "
                "address (HOST:6379) is given without http://."
            )
        case _:
            return (
                "Does the head run, and does its dashboard listen at an address that this machine reaches "
                "(--dashboard-host)? Where another head may have taken over: the cluster's address (HOST:6379), rather "
                "than the dashboard's, finds the one that leads."
            )


def _context(verify: bool | str) -> ssl.SSLContext:
    if isinstance(verify, str):
        path = Path(verify)
        if not path.exists():
            raise FileNotFoundError(f"verify={verify!r}: there is no such file or folder of authorities.")
        is_folder = path.is_dir()
        return ssl.create_default_context(cafile=None if is_folder else verify, capath=verify if is_folder else None)
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
