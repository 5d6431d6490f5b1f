"""Where a process can be reached, and by which way."""

import msgspec


class ProcessAddress(msgspec.Struct, frozen=True, array_like=True):
    """How to reach one process.

    Attributes:
        process_id: 32 hex digits, unique for the life of the process.
        host_id: equal for processes that share a kernel and a file system, which can therefore use `unix`.
        unix: path of the process's Unix socket, or "" where it has none.
        tcp: "host:port" of the process's TCP listener, or "" where it has none.
    """

    process_id: str
    host_id: str
    unix: str = ""
    tcp: str = ""

    def route_from(self, host_id: str) -> str:
        """What a process on `host_id` dials: "unix:<path>" or "tcp:<host>:<port>"; "" when unreachable."""
        if self.unix and self.host_id == host_id:
            return f"unix:{self.unix}"
        return f"tcp:{self.tcp}" if self.tcp else ""


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of a "host:port", in which the address of IPv6 stands in brackets and here does not.

    Raises:
        ValueError: its port is no number.
    """
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
