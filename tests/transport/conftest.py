"""What the transport's tests share: endpoints, recording handlers, and a proxy that cuts connections."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from limelight.transport.address import ProcessAddress
from limelight.transport.channel import Channel
from limelight.transport.endpoint import Endpoint
from limelight.transport.error import TransportError
from limelight.transport.limits import TransportLimits
from limelight.transport.protocol import Call, Cancel, Credit

TOKEN = bytes(range(32))


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that processes use on POSIX; tests/contracts runs on asyncio's own."""
    return {"uvloop": uvloop.new_event_loop}


class Recorder:
    """A handler that answers each call with its body and keeps what arrives."""

    def __init__(self) -> None:
        self.connected: list[Channel] = []
        self.calls: list[Call] = []
        self.lost: list[tuple[Channel, TransportError]] = []
        self.answers = True

    def on_connected(self, channel: Channel) -> None:
        self.connected.append(channel)

    def on_call(self, channel: Channel, call: Call) -> None:
        self.calls.append(call)
        if call.call_id and self.answers:
            channel.reply(call.call_id, call.body)

    def on_cancel(self, channel: Channel, cancel: Cancel) -> None: ...

    def on_credit(self, channel: Channel, credit: Credit) -> None: ...

    def on_lost(self, channel: Channel, error: TransportError) -> None:
        self.lost.append((channel, error))


class Cutter:
    """A proxy in front of a Unix socket or TCP port that can cut, stall and refuse connections."""

    def __init__(self, target: ProcessAddress, path: str) -> None:
        self.target = target
        self.path = path
        self.refusing = False
        self.accepted = 0
        self.bytes_until_cut: int | None = None
        self._stalled = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> ProcessAddress:
        return ProcessAddress(self.target.process_id, self.target.host_id, self.path)

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    def stall(self) -> None:
        self._flowing.clear()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._flowing.set()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self.accepted += 1
        self._writers.add(writer)
        try:
            if self.refusing:
                return
            far_reader, far_writer = await asyncio.open_unix_connection(self.target.unix)
            self._writers.add(far_writer)
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer)),
                asyncio.create_task(self._pump(far_reader, writer)),
            ]
            self._tasks.update(pumps)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers.discard(far_writer)
            far_writer.transport.abort()
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(16 * 1024):
                await self._flowing.wait()
                if self.bytes_until_cut is not None:
                    part = data[: self.bytes_until_cut]
                    self.bytes_until_cut -= len(part)
                    if self.bytes_until_cut == 0:
                        self.bytes_until_cut = None
                        writer.write(part)
                        await writer.drain()
                        self.cut()
                        return
                writer.write(data)
                await writer.drain()


class World:
    """Endpoints and proxies of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.endpoints: list[Endpoint] = []
        self.cutters: list[Cutter] = []
        self._names = itertools.count()

    async def endpoint(self, name: str, recorder: Recorder | None = None, **settings: Any) -> Endpoint:
        options: dict[str, Any] = {
            "process_id": name,
            "host_id": "here",
            "token": TOKEN,
            "info": {},
            "unix_path": str(self.folder / name),
            "handler": recorder or Recorder(),
            "limits": TransportLimits(grace=2.0, heartbeat=0.2),
        } | settings
        endpoint = Endpoint(**options)
        await endpoint.start()
        self.endpoints.append(endpoint)
        return endpoint

    async def cutter(self, target: ProcessAddress) -> Cutter:
        cutter = Cutter(target, str(self.folder / f"cutter{next(self._names)}"))
        await cutter.start()
        self.cutters.append(cutter)
        return cutter


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    before = asyncio.all_tasks()
    yield world
    for endpoint in world.endpoints:
        await endpoint.close()
    for cutter in world.cutters:
        await cutter.close()
    left_over = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left_over, "closing leaves tasks behind"
    assert not _sockets(tmp_path), "closing leaves sockets behind"


def _sockets(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith("cutter") and path.is_socket()]


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def token() -> bytes:
    assert os.name == "posix"
    return TOKEN
