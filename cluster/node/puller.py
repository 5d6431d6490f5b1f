"""Brings copies of other nodes' objects to this one: carries out what the `PullMachine` decides."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, assert_never

from ...actors.contract import (
    CORE,
    NODE,
    FindSource,
    LocateObject,
    Location,
    ObjectCopied,
    PullEnded,
    SourceFound,
    decoder_of,
)
from ...actors.pickling.failure import failure_summary
from ...transport.address import ProcessAddress
from ...transport.bulk_client import BulkClient
from ...transport.error import (
    BulkChangedError,
    BulkChecksumError,
    BulkNotFoundError,
    BulkUnavailableError,
    PeerClosedError,
    PeerLostError,
    RemoteCallError,
    TransportError,
)
from ...transport.shm.error import ObjectMovedError
from ..alarm import Alarm
from ..pull.command import Abort, Answer, AnyCommand, Drop, Fetch, Find, Finish, Prepare, Reserve, StartOver
from ..pull.event import (
    AnyEvent,
    Arrived,
    Fault,
    Found,
    Granted,
    PeersWait,
    Prepared,
    Priority,
    ProcessLost,
    RangeFailed,
    Refused,
    SourceFailed,
    Tick,
    Unwanted,
    Wanted,
    Who,
)
from ..pull.machine import PullLimits, PullMachine
from ..store.error import ObjectNotHereError, ObjectStoreFullError
from ..store.store import ObjectStore
from ..system_process import SystemProcess
from .object_source import ObjectSource
from .transfer import Transfer

NodeAt = Callable[[str], ProcessAddress | None]
"""The node process of a node by its id in hexadecimal; None where there is no such node (any more)."""

LOCATE_S = 120.0
"""How long the other node may take to bring an object back from its disk."""
FIND_S = 10.0
"""How long an owner may take to name a source; its wire thread answers, whatever its program does."""
_BUDGET = 4
"""A node fetches objects that come to so many times less than its store holds, at a time."""

_STEP = -1
"""The key of a pull's job that is about no range: reserving or preparing; questions to the owner come below."""

logger = logging.getLogger(__name__)


class Puller:
    """Copies objects from other nodes' stores into this one's. On the node process's loop.

    A copy is secondary: it is dropped first when memory runs short, and the object's owner is told of it, so as to
    free it with the object and to fall back on it when the first copy is lost.

    Args:
        process: asks other nodes, and owners.
        store: where copies go.
        source: passes on what arrives.
        node_id: this node.
        node_at: finds other nodes.
    """

    def __init__(
        self, process: SystemProcess, store: ObjectStore, source: ObjectSource, node_id: bytes, node_at: NodeAt
    ) -> None:
        self._process = process
        self._store = store
        self._source = source
        self._node_id = node_id
        self._node_at = node_at
        self._bulk = BulkClient(process.endpoint)
        self._loop = asyncio.get_running_loop()
        budget = store.stats().capacity // _BUDGET
        self._machine = PullMachine(PullLimits(budget=budget), self._room)
        self._alarm = Alarm(self._loop, lambda: self._machine.wake_at(self._loop.time()), lambda: self._feed(Tick()))
        self._numbers = count(1)
        self._answers: dict[Who, asyncio.Future[None]] = {}
        self._reserved: dict[int, Reserve] = {}
        self._transfers: dict[int, Transfer] = {}
        self._asked: dict[tuple[int, int], str] = {}  # whom a job asks; keys as in `_jobs`
        self._jobs: dict[int, dict[int, asyncio.Task[AnyEvent]]] = {}  # by pull; those of ranges by their index
        self._clearing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Give up what is under way."""
        self._alarm.cancel()
        for answer in self._answers.values():
            answer.cancel()
        jobs = [task for tasks in self._jobs.values() for task in tasks.values()]
        for number in list(self._reserved):
            self._drop(number)
        for task in self._clearing:
            task.cancel()  # the store goes, too: there is no need to wait for peers that may have stopped reading
        await asyncio.gather(*jobs, *self._clearing, return_exceptions=True)
        await self._bulk.close()

    async def pull(self, request: LocateObject, process_id: str) -> None:
        """Copy an object to this node for a reader that waits for it.

        Raises:
            ObjectNotHereError: no node has it that its owner knows of.
            ObjectStoreFullError: there is no room for it here; or there, to bring it back from disk.
        """
        who = (process_id, next(self._numbers))
        answer = self._answers[who] = self._loop.create_future()
        size, node = request.hint.size, request.hint.node_id
        try:
            self._feed(Wanted(request.object_id, request.owner, who, Priority.BLOCKED, size, node))
            await answer
        finally:
            del self._answers[who]
            self._feed(Unwanted(request.object_id, who, linger=True))

    def want(self, object_id: bytes, owner: ProcessAddress, at: Location, process_id: str, soon: bool) -> None:
        """Copy an object to this node if there is room: the process will read it."""
        priority = Priority.ARGUMENT if soon else Priority.PREFETCH
        self._feed(Wanted(object_id, owner, (process_id, 0), priority, at.size, at.node_id))

    def process_lost(self, process_id: str) -> None:
        """A process is gone that wanted objects, or had them."""
        self.source_lost(process_id)
        self._feed(ProcessLost(process_id))

    def source_lost(self, process_id: str) -> None:
        """Nothing more comes from the node of a process; to notice that by the silence would take longer."""
        self._bulk.forget(process_id)
        for (pull, key), asked in list(self._asked.items()):
            if asked != process_id or not self._abort(pull, key):
                continue
            message = f"its node is gone (process {process_id})"
            if key >= 0:
                self._feed(RangeFailed(pull, key, Fault.ABSENT, message))
            elif (found := self._machine.find(pull)) is not None:
                self._feed(SourceFailed(pull, found.source, Fault.ABSENT, message))

    def _room(self, priority: Priority) -> int:
        return self._store.room(spare=priority is Priority.PREFETCH)

    # --- carrying out ---

    def _feed(self, event: AnyEvent) -> None:
        for command in self._machine.handle(event, self._loop.time()):
            self._execute(command)
        self._alarm.set()

    def _execute(self, command: AnyCommand) -> None:
        match command:
            case Reserve():
                self._reserved[command.pull] = command
                self._run(command.pull, _STEP, self._reserve(command))
            case Find():
                self._run(command.pull, _STEP - command.question, self._find(command))
            case Prepare():
                self._run(command.pull, _STEP, self._prepare(command))
            case Fetch():
                self._run(command.pull, command.index, self._fetch(command))
            case Abort(pull, index):
                self._abort(pull, index)
            case StartOver(pull):
                self._transfers[pull].start_over()
            case Finish():
                self._finish(command)
            case Drop(pull):
                self._drop(pull)
            case Answer():
                self._answer(command)
            case _:
                assert_never(command)

    def _run(self, pull: int, key: int, job: "Coroutine[Any, Any, AnyEvent]") -> None:
        """Feed what a job results in, unless it is taken out of the table before: then it was aborted."""

        def done(task: "asyncio.Task[AnyEvent]") -> None:
            jobs = self._jobs.get(pull, {})
            if jobs.get(key) is task:  # else it was aborted, perhaps too late
                del jobs[key]
                self._asked.pop((pull, key), None)
                self._feed(task.result())

        task = self._loop.create_task(job)
        self._jobs.setdefault(pull, {})[key] = task
        task.add_done_callback(done)

    def _abort(self, pull: int, key: int) -> bool:
        """Cancel a job; False where there is none."""
        task = self._jobs.get(pull, {}).pop(key, None)
        self._asked.pop((pull, key), None)
        if task is not None:
            task.cancel()
        return task is not None

    async def _reserve(self, command: Reserve) -> AnyEvent:
        me, number = self._process.address.process_id, command.pull
        try:
            grant = await self._store.grant(me, command.size)
        except ObjectStoreFullError as error:
            return Refused(number, str(error))
        transfer = Transfer(
            command.object_id,
            grant,
            command.size,
            self._store.arena,
            lambda waiting: self._feed(PeersWait(number, waiting)),
        )
        self._transfers[number] = self._source.arriving[command.object_id] = transfer
        return Granted(number)

    async def _find(self, command: Find) -> AnyEvent:
        body = FindSource(command.object_id, self._node_id, command.avoid, command.lost)
        try:
            found: SourceFound = decoder_of(SourceFound).decode(
                await self._process.request(command.owner, CORE, body, FIND_S)
            )
        except TransportError as error:
            logger.info("the owner of %s names no source: %s", command.object_id.hex(), error)
            found = SourceFound()
        return Found(command.pull, command.question, found.node_id, found.partial, found.size)

    async def _prepare(self, command: Prepare) -> AnyEvent:
        asked, node_id = self._reserved[command.pull], command.node
        fault, message = Fault.ABSENT, f"node {node_id.hex()} is not in the cluster (any more)"
        node = self._node_at(node_id.hex())
        if node is not None:
            self._asked[command.pull, _STEP] = node.process_id
            try:
                body = LocateObject(asked.object_id, asked.owner, Location(node_id, 0, asked.size))
                answer = await self._process.request(node, NODE, body, LOCATE_S)
            except RemoteCallError as error:  # it says why it cannot bring the object into its memory
                fault, message = Fault.BUSY, f"node {node_id.hex()}: {failure_summary(error.body)}"
            except TransportError as error:
                message = str(error)
            else:
                if answer:
                    return Prepared(command.pull, node_id)
                message = f"node {node_id.hex()} does not have the object (any more)"
        return SourceFailed(command.pull, node_id, fault, message)

    async def _fetch(self, command: Fetch) -> AnyEvent:
        transfer, number, index = self._transfers[command.pull], command.pull, command.index
        node = self._node_at(command.node.hex())
        if node is None:
            message = f"node {command.node.hex()} is not in the cluster (any more)"
            return RangeFailed(number, index, Fault.ABSENT, message)
        self._asked[number, index] = node.process_id
        start, into = transfer.place(index)
        name = transfer.object_id.hex()
        try:
            got = await self._bulk.fetch(node, name, start, into, transfer.total, transfer.tag)
        except TransportError as error:
            return RangeFailed(number, index, _fault(error), str(error))
        if not transfer.arrived(index, got):
            return RangeFailed(number, index, Fault.CHANGED, "the object was made again meanwhile")
        return Arrived(number, index)

    # --- the end of a pull ---

    def _finish(self, command: Finish) -> None:
        transfer, asked = self._transfers.pop(command.pull), self._reserved.pop(command.pull)
        for key in list(self._jobs.get(command.pull, {})):  # a question that needs no answer any more
            self._abort(command.pull, key)
        self._jobs.pop(command.pull, None)
        del self._source.arriving[asked.object_id]
        me, owner = self._process.address.process_id, asked.owner
        grant = transfer.grant
        self._store.copied(me, grant, asked.object_id, owner.process_id, asked.size, command.wanted)
        self._source.remember(asked.object_id, transfer.tag, transfer.sums)
        copy = ObjectCopied(asked.object_id, Location(self._node_id, grant.offset, asked.size))
        self._process.notify(owner, CORE, copy)
        if transfer.readers:
            self._clear(self._keep_while_read(transfer))

    async def _keep_while_read(self, transfer: Transfer) -> None:
        """What is being passed on stays in memory, as any object does that is read."""
        try:
            pinned = self._store.arena.hold(transfer.object_id, transfer.grant.offset)
        except ObjectMovedError:
            return  # it was freed at once; peers notice by the checksums
        await transfer.unread()
        del pinned

    def _drop(self, number: int) -> None:
        asked, transfer = self._reserved.pop(number), self._transfers.pop(number, None)
        jobs = dict(self._jobs.get(number, {}))
        for key in jobs:
            self._abort(number, key)
        self._jobs.pop(number, None)
        if transfer is not None:
            self._process.notify(asked.owner, CORE, PullEnded(asked.object_id, self._node_id))
            del self._source.arriving[asked.object_id]
            transfer.fail()
            self._clear(self._release(transfer, list(jobs.values())))

    async def _release(self, transfer: Transfer, tasks: "list[asyncio.Task[AnyEvent]]") -> None:
        """Give the memory back once nobody writes into it or reads from it."""
        await asyncio.gather(*tasks, return_exceptions=True)
        await transfer.unread()
        grant = transfer.grant
        self._store.returned(self._process.address.process_id, grant.grant, grant.offset, grant.size, touched=True)

    def _clear(self, job: "Coroutine[Any, Any, None]") -> None:
        task = self._loop.create_task(job)
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    def _answer(self, command: Answer) -> None:
        answer = self._answers.get(command.who)
        if answer is None or answer.done():
            return
        if not command.message:
            answer.set_result(None)
        else:
            answer.set_exception((ObjectStoreFullError if command.full else ObjectNotHereError)(command.message))


def _fault(error: TransportError) -> Fault:
    match error:
        case BulkNotFoundError() | PeerLostError() | PeerClosedError():
            return Fault.ABSENT
        case BulkChangedError():
            return Fault.CHANGED
        case BulkUnavailableError():
            return Fault.BUSY
        case BulkChecksumError():
            return Fault.CORRUPT
        case _:
            return Fault.BROKEN
