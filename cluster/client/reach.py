"""Whether somebody listens at a head's address, and whether this machine can listen at its own.

Both are looked at before a process is started: they are the usual mistakes, and looking takes a millisecond.
"""

import errno
import socket

from ...transport.address import host_and_port
from .failure import CommandError
from .network_address import own_addresses

_CONNECT_S = 5.0
_NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}


def reach(address: str) -> str:
    """Connect to "host:port" and let go again; returns this machine's address as the other end sees it.

    Raises:
        CommandError: nobody is there; says which of the reasons it is, and what to do.
    """
    host, port = host_and_port(address)
    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S) as probe:
            return probe.getsockname()[0]
    except OSError as error:
        raise CommandError(_why(host, port, error)) from None


def check_own(address: str, option: str = "--host") -> None:
    """See that this machine can listen at "host:port"; that somebody does so already is for others to say.

    Raises:
        CommandError: it cannot; says why, and what to do.
    """
    host, port = host_and_port(address)
    shown = ", ".join(own_addresses()) or "none that others could reach"
    try:
        [(family, kind, *_, target)] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:1]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except socket.gaierror as error:
        raise CommandError(f"{option} {host}: {error.strerror}. This machine's addresses: {shown}.") from None
    except PermissionError:
        raise CommandError(f"Port {port} is not for you to listen at. Choose one of 1024 or more.") from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise CommandError(f"{option} {host} is no address of this machine. It has: {shown}.") from None


def _why(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"No machine is known here as {host!r}: {error.strerror}. Is it spelled right? Its IP address does, too."
    if isinstance(error, ConnectionRefusedError):
        return (
            f"{host} is there, but nobody listens at its port {port}. On the head's machine `cluster status` says at "
            "which address the head is. One that was started without --host serves its own machine only."
        )
    if isinstance(error, TimeoutError):
        return (
            f"{host} has not answered within {_CONNECT_S:g} s. Is the address right, is the machine on, and does its "
            f"firewall let others in at TCP port {port}?"
        )
    if error.errno in _NO_WAY:
        return f"There is no way to {host}: {error.strerror}. Is the address right, and is the machine on?"
    return f"{host} cannot be reached at port {port}: {error.strerror or error}."
