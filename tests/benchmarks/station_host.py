"""One node of a benchmark of object transfers: told what to do on stdin, answers on stdout, a line of JSON each."""

import asyncio
import json
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from limelight.actors.contract import CORE, NODE, LocateObject, Location, decoder_of
from limelight.transport.address import ProcessAddress
from tests.cluster.node.station import Owner, Station

CAPACITY = 3 << 30
WAIT_S = 120.0


class StationHost:
    """A station, the owner of its objects, and a bare socket to compare with."""

    def __init__(self, address: str, folder: Path) -> None:
        self.peers: dict[str, ProcessAddress] = {}
        self.station = Station(folder, self.peers, CAPACITY, f"{address}:0")
        self.address = address

    async def start(self) -> dict[str, Any]:
        await self.station.start()
        self.owner = Owner()
        self.station.process.actors[CORE] = self.owner
        return {
            "node": self.station.node_id.hex(),
            "address": msgspec.json.encode(self.station.process.address).decode(),
        }

    async def meet(self, peers: dict[str, str]) -> None:
        self.peers |= {node: msgspec.json.decode(peer, type=ProcessAddress) for node, peer in peers.items()}

    async def publish(self, size: int) -> dict[str, Any]:
        """A new object of this node."""
        object_id = os.urandom(28)
        content = os.urandom(1 << 20) * (size >> 20)
        place = await self.station.write(object_id, self.station.process.address, content)
        self.owner.own(object_id, place)
        return {
            "object": object_id.hex(),
            "owner": msgspec.json.encode(self.station.process.address).decode(),
            "place": [place.node_id.hex(), place.offset, place.size],
        }

    async def pull(self, object: str, owner: str, place: list[Any]) -> dict[str, Any]:  # noqa: A002 - a message's field
        """Have it here; the seconds that took."""
        at = Location(bytes.fromhex(place[0]), place[1], place[2])
        body = LocateObject(bytes.fromhex(object), msgspec.json.decode(owner, type=ProcessAddress), at)
        began = time.perf_counter()
        answer = await self.station.process.request(self.station.process.address, NODE, body, WAIT_S)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "size": decoder_of(Location).decode(answer).size}

    async def free(self, object: str) -> None:  # noqa: A002 - a message's field
        self.station.store.freed(bytes.fromhex(object))

    async def sent(self) -> dict[str, Any]:
        """Ranges that were sent so far."""
        return {"ranges": self.station.source.opened.total()}

    async def listen(self, size: int) -> dict[str, Any]:
        """Send so many bytes to whoever connects, from a bare socket."""
        listener = socket.create_server((self.address, 0))
        data = memoryview(bytearray(os.urandom(1 << 20)) * (size >> 20))

        def send() -> None:
            with listener, listener.accept()[0] as connection:
                connection.sendall(data)

        threading.Thread(target=send, daemon=True).start()
        return {"port": listener.getsockname()[1]}

    async def receive(self, host: str, port: int, size: int) -> dict[str, Any]:
        """Receive so many bytes from there into memory that is there already; the seconds that took."""
        into = memoryview(bytearray(b"x") * size)

        def read() -> float:
            began = time.perf_counter()
            with socket.create_connection((host, port)) as connection:
                left = into
                while left:
                    left = left[connection.recv_into(left) :]
            return time.perf_counter() - began

        return {"seconds": await asyncio.to_thread(read)}


async def main(address: str) -> None:
    """Serve until stdin ends."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        host = StationHost(address, Path(folder))
        print(json.dumps(await host.start()), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            method, arguments = json.loads(line)
            print(json.dumps(await getattr(host, method)(**arguments) or {}), flush=True)
        await host.station.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
