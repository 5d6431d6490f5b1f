"""Addresses of this machine, and of heads, as people write them."""

import socket

import psutil

DEFAULT_PORT = 6379
LOOPBACK = "127.0.0.1"
EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - what users type


def with_port(text: str) -> str:
    """Complete a head's "host:port": the port may be left out, IPv6 addresses stand in brackets where there is one.

    Raises:
        ValueError: it is no such address.
    """
    host, colon, last = text.rpartition(":")
    if text.startswith("[") and text.endswith("]"):
        return f"{text}:{DEFAULT_PORT}"
    if not colon:
        host, last = text, str(DEFAULT_PORT)
    elif ":" in host and not (host.startswith("[") and host.endswith("]")):
        host, last = f"[{text}]", str(DEFAULT_PORT)
    if not host or not last.isdecimal() or not 0 < int(last) < 65536 or "/" in host:  # noqa: PLR2004 - ports
        raise ValueError(f"{text!r} is no address of a head: write its host, or host:port, such as 10.0.0.5:6379.")
    return f"{host}:{last}"


def join_host_port(host: str, port: int) -> str:
    """Write "host:port", with brackets for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that host."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def own_addresses() -> list[str]:
    """This machine's addresses that others may reach: IPv4, without the loopback."""
    return sorted(
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not is_loopback(address.address)
    )
