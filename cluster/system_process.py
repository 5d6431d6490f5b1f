"""A process of system actors: one endpoint, and calls routed to the actors by name."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from ..actors.cells.asyncio_cell import AsyncioCell
from ..actors.contract import encode
from ..actors.native.envelope import Envelope
from ..actors.native.links import Answer, Links
from ..actors.serialization import serialize_error
from ..exceptions import RaySystemError
from ..transport.address import ProcessAddress
from ..transport.channel import Channel
from ..transport.endpoint import Endpoint
from ..transport.error import TransportError
from ..transport.protocol import Call, Cancel, Credit
from ..transport.twin import connect_twins

logger = logging.getLogger(__name__)


class Arrived(NamedTuple):
    """A call to a system actor, as its inbox gets it."""

    channel: Channel
    call: Call


class Lost(NamedTuple):
    """A peer's channel has ended, as inboxes get it."""

    channel: Channel
    error: TransportError


class Cancelled(NamedTuple):
    """A peer no longer wants the answer to a call, as inboxes get it."""

    channel: Channel
    call_id: int


class SystemActor(AsyncioCell):
    """An actor of the cluster itself: a Pykka actor on an asyncio loop whose messages are calls.

    Subclasses fill `methods`: what handles which call. A handler that fails answers its caller with the error, and the
    actor goes on: a node manager must outlive one bad request.
    """

    name = ""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.methods: dict[str, Callable[[Any, Call], None]] = {}

    def on_receive(self, message: Any) -> None:
        """Handle a call, or the end of a channel."""
        if isinstance(message, Lost):
            self.on_lost(message.channel, message.error)
            return
        if isinstance(message, Cancelled):
            self.on_cancelled(message.channel, message.call_id)
            return
        channel, call = message
        try:
            self.methods.get(call.method, self._no_such_method)(channel, call)
        except Exception as error:
            logger.exception("%s.%s failed", self.name, call.method)
            if call.call_id:
                told = RaySystemError(f"{self.name}.{call.method} failed: {type(error).__name__}: {error}")
                channel.reply(call.call_id, serialize_error(told), failed=True)

    def on_lost(self, channel: Channel, error: TransportError) -> None:
        """A peer is gone."""

    def on_cancelled(self, channel: Channel, call_id: int) -> None:
        """A peer no longer wants the answer to a call. Most calls are short; there is nothing to cancel."""

    def _no_such_method(self, _: Channel, call: Call) -> None:
        raise LookupError(f"there is no method {call.method!r}; there are {', '.join(sorted(self.methods))}")


class SystemProcess:
    """Hosts system actors and lets them talk to any process by address, also to each other in this one.

    Everything runs on one asyncio loop.
    """

    def __init__(self) -> None:
        self.actors: dict[str, SystemActor] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listens = False

    async def start(self, endpoint: Endpoint) -> None:
        """Listen, and connect the process to itself."""
        self.endpoint = endpoint
        await endpoint.start()
        self.address = endpoint.address
        self.links = Links(endpoint, self)
        self._self, self._self_back = connect_twins(self.address, self, self.address, self)
        self._listens = True

    async def close(self) -> None:
        """End all channels and tasks. Also for a process whose start has failed."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listens:
            await self.links.close()
            await self._self.close()
            await self.endpoint.close()

    def notify(self, address: ProcessAddress, actor: str, body: Any) -> None:
        """Send a call that wants no answer."""
        if address.process_id == self.address.process_id:
            self._self.notify(actor, type(body).__name__, encode(body))
        else:
            self.links.notify(address, actor, body)

    def ask(self, address: ProcessAddress, actor: str, body: Any, answer: Answer) -> None:
        """Send a call; `answer` gets the reply, or the error that there will be none."""
        if address.process_id == self.address.process_id:
            self._self.call(actor, type(body).__name__, encode(body), answer)
        else:
            self.links.ask(address, actor, body, answer)

    async def request(self, address: ProcessAddress, actor: str, body: Any, timeout: float) -> bytes:  # noqa: ASYNC109
        """Send a call and wait for the answer, at most `timeout` seconds.

        Raises:
            TransportError: there is none; `RemoteCallError` where the actor failed.
        """
        here = address.process_id == self.address.process_id
        channel = self._self if here else await self.endpoint.connect(address)
        return await channel.request(actor, type(body).__name__, encode(body), timeout)

    def connected(self, address: ProcessAddress, then: Callable[[Channel | TransportError], None]) -> None:
        """Call `then` with the channel to a process, or the error that there is none."""
        if address.process_id == self.address.process_id:
            then(self._self)
        else:
            self.links.connected(address, then)

    def spawn(self, coroutine: Any) -> "asyncio.Task[Any]":
        """Run a coroutine as a task of this process; its failure is logged."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("A task of a system process failed", exc_info=error)

    # --- ChannelHandler ---

    def on_connected(self, channel: Channel) -> None:
        """A process has connected."""

    def on_call(self, channel: Channel, call: Call) -> None:
        """Hand a call to its actor."""
        actor = self.actors.get(call.actor)
        if actor is not None:
            actor.actor_inbox.put(Envelope(Arrived(channel, call)))  # type: ignore[arg-type] - all that a cell reads
        elif call.call_id:
            told = RaySystemError(f"Process {self.address.process_id} has no actor {call.actor!r}.")
            channel.reply(call.call_id, serialize_error(told), failed=True)

    def on_cancel(self, channel: Channel, cancel: Cancel) -> None:
        """Tell the actors, in the order in which call and cancellation came."""
        for actor in self.actors.values():
            actor.actor_inbox.put(Envelope(Cancelled(channel, cancel.call_id)))  # type: ignore[arg-type]

    def on_credit(self, channel: Channel, credit: Credit) -> None:
        """System actors stream nothing."""

    def on_lost(self, channel: Channel, error: TransportError) -> None:
        """A process is gone: all actors may care."""
        for actor in self.actors.values():
            actor.actor_inbox.put(Envelope(Lost(channel, error)))  # type: ignore[arg-type]
