"""What workers print, on its way to the drivers of their jobs."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from ...actors.contract import CORE, NODE, FlushOutput, OutputLines, RegisterDriver, decoder_of
from ...transport.channel import Channel
from ...transport.error import TransportError
from ...transport.protocol import Call
from ..process.log_batch import LogBatch
from ..system_process import SystemProcess
from .head_link import HeadLink
from .job_table import JobTable
from .worker_table import WorkerTable

if TYPE_CHECKING:
    from .manager import NodeManager

_FLUSH_S = 2.0
_SHOW_S = 600.0
"""How long a driver may take to show lines: its user may have stopped the terminal."""


class OutputDesk:
    """Part of the node manager; on its loop."""

    def __init__(
        self, manager: "NodeManager", process: SystemProcess, workers: WorkerTable, jobs: JobTable, head: HeadLink
    ) -> None:
        self._process = process
        self._workers = workers
        self._jobs = jobs
        self._head = head
        manager.methods |= {"FlushOutput": self._on_flush}

    async def show(self, batch: LogBatch) -> None:
        """Hand lines that a worker printed to the driver of its job."""
        found: asyncio.Future[RegisterDriver | None] = asyncio.get_running_loop().create_future()
        self._jobs.find(batch.job_id, found.set_result)
        driver = await found
        if driver is not None and driver.log_to_driver:
            with contextlib.suppress(TransportError):  # the driver is gone; the file has the lines
                lines = OutputLines(msgspec.msgpack.encode(batch))
                await self._process.request(driver.address, CORE, lines, _SHOW_S)

    def _on_flush(self, channel: Channel, call: Call) -> None:
        flush: FlushOutput = decoder_of(FlushOutput).decode(call.body)
        self._process.spawn(self._flush(channel, call.call_id, flush.everywhere))

    async def _flush(self, channel: Channel, call_id: int, everywhere: bool) -> None:
        here = [self._workers.flush_output()]
        peers = self._head.peers.all() if everywhere else []
        there = [self._process.request(peer, NODE, FlushOutput(everywhere=False), _FLUSH_S) for peer in peers]
        await asyncio.gather(*here, *there, return_exceptions=True)  # a node that is gone has nothing left to show
        channel.reply(call_id, b"")
