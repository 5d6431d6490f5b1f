"""Hears all that goes over the switch between the hosts of a test."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_LISTEN = """
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL: packet(7)
tap.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
with open(sys.argv[1], "wb", buffering=0) as heard:
    print("listening", flush=True)
    while True:
        heard.write(tap.recv(1 << 17))
"""


@contextlib.contextmanager
def tapped(network, path: Path) -> Iterator[None]:
    """While inside, write every packet of the network's switch to a file."""
    command = ["ip", "netns", "exec", network._switch, sys.executable, "-c", _LISTEN, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout.readline() == "listening\n"
        try:
            yield
        finally:
            listener.send_signal(signal.SIGTERM)
            assert listener.wait(10) == 0
