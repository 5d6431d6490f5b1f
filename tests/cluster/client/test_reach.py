"""A head's address that is wrong: which way it is, in words and within seconds."""

import errno
import os
import socket

import pytest

from limelight.cluster.client import reach as reaching
from limelight.cluster.client.failure import CommandError
from limelight.cluster.client.reach import reach


def test_a_machine_that_says_nothing_is_told_in_time(monkeypatch):
    """As where a firewall drops what comes: here, as the queue of who waits to be let in is full."""
    monkeypatch.setattr(reaching, "_CONNECT_S", 0.2)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        waiting = []
        try:
            for _ in range(3):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(address)
            with pytest.raises(CommandError, match=r"127\.0\.0\.1 has not answered within 0\.2 s\. .*firewall"):
                reach(f"127.0.0.1:{address[1]}")
        finally:
            for client in waiting:
                client.close()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EHOSTUNREACH, r"There is no way to 10\.9\.9\.9: No route to host\. Is the address right"),
        (errno.ENETUNREACH, r"There is no way to 10\.9\.9\.9: Network is unreachable"),
        (errno.EACCES, r"10\.9\.9\.9 cannot be reached at port 6379: Permission denied\."),
    ],
)
def test_an_address_that_leads_nowhere_is_told(monkeypatch, number, words):
    def connect(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(CommandError, match=words):
        reach("10.9.9.9:6379")
