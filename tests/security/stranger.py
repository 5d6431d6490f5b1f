"""Somebody without the token, who speaks raw HTTP to every port, in every way that may get past a check."""

import contextlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from limelight.transport.gate import preamble

MOZILLA = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass(frozen=True)
class Request:
    """One request of HTTP."""

    method: str
    path: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self, host: str, more: Mapping[str, str]) -> bytes:
        headers = {"Host": host, "Connection": "close", **self.headers, **more}
        if self.body:
            headers["Content-Length"] = str(len(self.body))
            headers.setdefault("Content-Type", "application/json")
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n" + self.body).encode()


def disguises(address: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Hosts and headers: of a program, of a browser, and of a page that has made a browser send this."""
    port = address.rpartition(":")[2]
    for host in (address, f"localhost:{port}", f"rebound.evil.example:{port}", "limelight"):
        yield host, {}
        yield host, {"User-Agent": MOZILLA}
        # A page whose name was rebound to this address: its requests are of the same origin, and it chose the agent.
        yield host, {"User-Agent": "curl/8", "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        yield host, {"User-Agent": MOZILLA, "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
        yield host, {"Origin": "null", "Content-Type": "text/plain"}
        yield host, {"Sec-Fetch-Site": "none", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost"}
        yield host, {"Authorization": "Bearer " + "0" * 64, "Cookie": "token=" + "0" * 64}


def openings() -> Iterable[bytes]:
    """What is said before HTTP: nothing, and what connections of ours begin with, which is no secret."""
    return b"", preamble("", secure=False)


def ask(address: tuple[str, int], said: bytes) -> bytes:
    """The whole answer; empty where the connection is cut.

    Raises:
        TimeoutError: it is neither answered nor cut.
    """
    heard = bytearray()
    with contextlib.suppress(ConnectionError), socket.create_connection(address, timeout=10) as connection:
        connection.sendall(said)
        while data := connection.recv(1 << 16):
            heard += data
    return bytes(heard)


def try_everything(
    addresses: Iterable[tuple[str, int]], request: Request, more: Mapping[str, str] | None = None
) -> list[bytes]:
    """Every answer to a request that is tried at every port, in every disguise; `more` goes into each."""
    answers = []
    for address in addresses:
        shown = f"{address[0]}:{address[1]}"
        for host, headers in disguises(shown):
            answers += [
                ask(address, opening + request.encode(host, headers | dict(more or {}))) for opening in openings()
            ]
    return answers


def status(answer: bytes) -> int:
    """Of HTTP; 0 where the connection was cut."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0
