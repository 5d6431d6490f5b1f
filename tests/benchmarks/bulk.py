"""How fast bulk streams are between two processes, against a bare socket: `python -m tests.benchmarks.bulk`."""

import asyncio
import os
import secrets
import signal
import socket
import statistics
import tempfile
import time

import uvloop

from limelight.transport.address import ProcessAddress
from limelight.transport.bulk_client import BulkClient
from limelight.transport.endpoint import Endpoint
from limelight.transport.limits import MIB

from .channel import Echo

TOKEN = secrets.token_bytes(32)
SIZE = 256 * MIB
ROUNDS = 5


class Memory:
    """One object, and the source that has it."""

    def __init__(self) -> None:
        self.data = memoryview(bytearray(os.urandom(MIB)) * (SIZE // MIB)).toreadonly()
        self.size = SIZE

    async def open(self, name: str) -> "Memory":
        return self

    def view(self, start: int, stop: int) -> memoryview:
        return self.data[start:stop]

    def release(self) -> None: ...


def serve(folder: str, ready: int) -> None:
    """The process that has the object, and a bare socket that sends the same bytes to whoever connects."""

    async def main() -> None:
        memory = Memory()
        server = Endpoint(
            process_id="server",
            host_id="here",
            token=TOKEN,
            unix_path=f"{folder}/server",
            tcp="127.0.0.1:0",
            info={},
            handler=Echo(),
            bulk=memory,
        )
        await server.start()
        bare = socket.create_server(("127.0.0.1", 0))
        asyncio.get_running_loop().run_in_executor(None, send_bare, bare, memory.data)
        os.write(ready, f"{server.address.tcp} {bare.getsockname()[1]}".encode())
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        bare.close()
        await server.close()

    uvloop.run(main())


def send_bare(listener: socket.socket, data: memoryview) -> None:
    """Send the object to each of ROUNDS connections."""
    for _ in range(ROUNDS):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(data)


def receive_bare(port: int, into: memoryview) -> None:
    """What the bulk streams are compared with."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        left = into
        while left:
            left = left[connection.recv_into(left) :]


async def measure(folder: str, tcp: str, bare: int) -> None:
    """Print the rates."""
    into = memoryview(bytearray(SIZE))
    rates = [rate(lambda: receive_bare(bare, into)) for _ in range(ROUNDS)]
    print(f"bare TCP socket: median {statistics.median(rates):.2f} GB/s")
    for label, address in {
        "TCP": ProcessAddress("server", "elsewhere", tcp=tcp),
        "Unix": ProcessAddress("server", "here", unix=f"{folder}/server"),
    }.items():
        for streams in (1, 2, 4) if label == "TCP" else (1,):
            client = Endpoint(process_id="client", host_id="here", token=TOKEN, info={}, handler=Echo())
            await client.start()
            bulk = BulkClient(client, streams=streams)
            figures: list[float] = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                await bulk.fetch(address, "object", into)
                figures.append(SIZE / (time.perf_counter() - start) / 1e9)
            print(f"{label}, {streams} streams: median {statistics.median(figures):.2f}, best {max(figures):.2f} GB/s")
            await bulk.close()
            await client.close()


def rate(work: object) -> float:
    """GB/s of one run."""
    start = time.perf_counter()
    work()
    return SIZE / (time.perf_counter() - start) / 1e9


def main() -> None:
    """Start the peer, measure, end the peer."""
    with tempfile.TemporaryDirectory() as folder:
        ready, tell = os.pipe()
        peer = os.fork()
        if peer == 0:
            serve(folder, tell)
            os._exit(0)
        tcp, bare = os.read(ready, 100).decode().split()
        uvloop.run(measure(folder, tcp, int(bare)))
        os.kill(peer, signal.SIGTERM)
        os.waitpid(peer, 0)


if __name__ == "__main__":
    main()
