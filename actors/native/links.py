"""Sending to other processes by address, dialling them first where need be."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ...transport.address import ProcessAddress
from ...transport.channel import Channel, ChannelHandler
from ...transport.endpoint import Endpoint
from ...transport.error import ConnectError, TransportError
from ...transport.limits import DEFAULT_LIMITS
from ...transport.protocol import Reply
from ...transport.twin import connect_twins
from ..contract import encode

Answer = Callable[[Reply | TransportError], None]
Connected = Callable[[Channel | TransportError], None]


class Links:
    """Messages to processes that may not be connected yet, or take their messages slowly. On the wire thread.

    Messages to one process keep their order: while it is being dialled, or its channel is full, they queue, and are
    sent when there is a channel with room. When it cannot be reached, questions are answered with the error and
    notifications are dropped, as with a channel that is lost.
    """

    def __init__(self, endpoint: Endpoint, handler: ChannelHandler) -> None:
        self._endpoint = endpoint
        self._handler = handler
        self._twins: tuple[Channel, Channel] | None = None
        self._queues: dict[str, deque[Connected]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def notify(self, address: ProcessAddress, actor: str, body: Any) -> None:
        """Send a call that wants no answer."""
        channel = self._ready_channel(address)
        if channel is not None:
            channel.notify(actor, type(body).__name__, encode(body))
            return

        def send(channel: Channel | TransportError) -> None:
            if not isinstance(channel, TransportError):
                channel.notify(actor, type(body).__name__, encode(body))

        self.connected(address, send)

    def ask(self, address: ProcessAddress, actor: str, body: Any, answer: Answer) -> None:
        """Send a call; `answer` gets the reply, or the error that there will be none."""
        channel = self._ready_channel(address)
        if channel is not None:
            channel.call(actor, type(body).__name__, encode(body), answer)
            return

        def send(channel: Channel | TransportError) -> None:
            if isinstance(channel, TransportError):
                answer(channel)
            else:
                channel.call(actor, type(body).__name__, encode(body), answer)

        self.connected(address, send)

    def connected(self, address: ProcessAddress, then: Connected) -> None:
        """Call `then` with the channel to a process, or with the error that there is none; at once where it exists."""
        channel = self._ready_channel(address)
        if channel is not None:
            then(channel)
            return
        queue = self._queues.get(address.process_id)
        if queue is not None:
            queue.append(then)
            return
        self._queues[address.process_id] = deque([then])
        self.spawn(self._serve(address))

    def has_channel(self, process_id: str) -> bool:
        """Whether there is a channel to a process, so that something may still come from it."""
        return self._endpoint.channel(process_id) is not None

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task that ends at the latest with `close`."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is being dialled, and talk to oneself no more."""
        for twin in self._twins or ():
            await twin.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ready_channel(self, address: ProcessAddress) -> Channel | None:
        if address.process_id in self._queues:
            return None  # others queue for it: keep the order
        channel = self._endpoint.channel(address.process_id)
        if channel is None and address.process_id == self._endpoint.address.process_id:
            return self._to_itself()
        if channel is not None and channel.queued_bytes >= DEFAULT_LIMITS.send_buffer:
            return None
        return channel

    def _to_itself(self) -> Channel:
        """For an actor that calls itself, or a worker that is leased to a thread that its own task left behind."""
        if self._twins is None:
            own = self._endpoint.address
            self._twins = connect_twins(own, self._handler, own, self._handler)
        return self._twins[0]

    async def _serve(self, address: ProcessAddress) -> None:
        result: Channel | TransportError
        try:
            result = await self._endpoint.connect(address)
        except TransportError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - a defect: what waits for this process must hear of it
            asyncio.get_running_loop().call_exception_handler({"message": "dialling failed", "exception": error})
            result = ConnectError(f"Dialling process {address.process_id} failed: {error!r}.")
        queue = self._queues[address.process_id]
        try:
            while queue:
                if isinstance(result, Channel):
                    await result.drain()
                self._serve_one(queue.popleft(), result)
        finally:
            del self._queues[address.process_id]

    @staticmethod
    def _serve_one(then: Connected, result: Channel | TransportError) -> None:
        try:
            then(result)
        except Exception as error:  # noqa: BLE001 - one failing callback must not harm those behind it
            asyncio.get_running_loop().call_exception_handler({"message": f"{then} failed", "exception": error})
