"""What the node's workers have run: kept for `timeline()`, also when they have ended."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from ...actors.contract import CORE, NODE, CollectTimeline, FlushTimeline, Timeline, decoder_of, encode
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..system_process import SystemProcess

_KEPT = 16 << 20
"""Bytes of reports that are kept, the latest: well over 100,000 runs."""

_WORKER_S = 2.0
_NODE_S = 5.0


class TimelineDesk:
    """Part of the node manager; on its loop.

    Args:
        process: the node process.
        workers: the channels to the workers there are.
        peers: the other nodes' managers.
    """

    def __init__(
        self,
        process: SystemProcess,
        workers: Callable[[], Iterable[Channel]],
        peers: Callable[[], Iterable[ProcessAddress]],
    ) -> None:
        self._process = process
        self._workers = workers
        self._peers = peers
        self._reports: deque[bytes] = deque()
        self._size = 0
        self.methods = {"TaskSpans": self._on_task_spans, "CollectTimeline": self._on_collect}

    def _on_task_spans(self, _: Channel, call: Call) -> None:
        """Keep a report as it came: nobody may ever ask."""
        self._reports.append(call.body)
        self._size += len(call.body)
        while self._size > _KEPT:
            self._size -= len(self._reports.popleft())

    def _on_collect(self, channel: Channel, call: Call) -> None:
        wanted: CollectTimeline = decoder_of(CollectTimeline).decode(call.body)
        self._process.spawn(self._collect(channel, call.call_id, wanted.everywhere))

    async def _collect(self, channel: Channel, call_id: int, everywhere: bool) -> None:
        """Have the workers report, then answer. Who does not answer in time, or is gone, has told what it has told."""
        flush = encode(FlushTimeline())
        here = [worker.request(CORE, "FlushTimeline", flush, _WORKER_S) for worker in self._workers()]
        body = CollectTimeline(everywhere=False)
        there = [self._process.request(peer, NODE, body, _NODE_S) for peer in (self._peers() if everywhere else ())]
        _, answers = await asyncio.gather(
            asyncio.gather(*here, return_exceptions=True), asyncio.gather(*there, return_exceptions=True)
        )
        batches = list(self._reports)
        for answer in answers:
            if isinstance(answer, bytes):
                batches += decoder_of(Timeline).decode(answer).batches
        channel.reply(call_id, encode(Timeline(batches)))
