"""One node's object store: `StoreMachine`'s decisions carried out on a real arena, with real files."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import assert_never

import msgspec

from ...transport.shm.arena import PAGE, Arena
from ...transport.shm.backing import ArenaLocation
from ...transport.shm.error import ObjectMovedError
from ...transport.shm.nursery import Grant
from ...transport.shm.reclaimer import Reclaimer
from ...transport.shm.stored_object import scan
from .command import (
    AnyCommand,
    AskOwner,
    AskReturn,
    DeleteSpilled,
    GrantFailed,
    GrantReady,
    Located,
    LocateFailed,
    Punch,
    Reclaim,
    Restore,
    Scan,
    Spill,
    TellDropped,
)
from .error import ObjectNotHereError, ObjectStoreFullError, StoreClosedError
from .event import (
    AnyEvent,
    Disowned,
    FoundObject,
    Freed,
    GrantRequested,
    GrantReturned,
    LocateRequested,
    OwnerLost,
    ProcessLost,
    Promoted,
    ReclaimResult,
    Scanned,
    Sealed,
    Tick,
)
from .machine import StoreMachine
from .mover import Mover
from .object_table import StoredObject
from .reading import Reader
from .spill_storage import SpillStorage
from .state import StoreLimits

DISK_THREADS = 4
_CLOSED = "The node's object store was closed: its session has ended."
MOVES = 20
"""How often an object may move away from under a reader before that counts as an error of the store."""


def _nobody(_: ArenaLocation) -> list[Reader]:
    """A store by itself: nobody is known."""
    return []


class StoreStats(msgspec.Struct, frozen=True):
    """What a store holds, in bytes where not said otherwise."""

    capacity: int
    objects: int
    """Copies, in memory or on disk; a number."""
    resident: int
    granted: int
    populated_free: int
    on_disk: int
    spilled_total: int
    restored_total: int
    waiting: int
    """Requests that wait for memory; a number."""


class OpenObject(msgspec.Struct, frozen=True):
    """An object held in memory for sending it to another node. Let go of `parts` to release it."""

    object_id: bytes
    parts: list[memoryview]

    @property
    def sizes(self) -> list[int]:
        """Bytes of each part."""
        return [part.nbytes for part in self.parts]


class ObjectStore:
    """Runs in the node process's event loop; all methods are to be called there, and none blocks it.

    Args:
        arena: the node's arena; the store closes it.
        capacity: bytes of memory that objects and grants may take together.
        storage: where objects go when memory runs short; None: nowhere.
        ask_return: called with a process and a grant's number to ask that process to retire its nursery. May be lost.
        high_water: share of the capacity above which objects are spilled ahead of need.
        grant_timeout: seconds that a request for memory may wait.
        grace: seconds that it waits while no memory comes free, and none is about to: nothing is being spilled, and
            nobody at work reads.
        name_of: what a process is called in messages, by its id.
        readers: tells which processes of this node read objects of that arena at the moment.

    Attributes:
        ask_owner: asks an owner about what a lost process made for it; `disowned` takes the answer. May be lost.
        tell_dropped: tells an owner that a copy of its object is gone. May be lost.
    """

    def __init__(
        self,
        arena: Arena,
        capacity: int,
        storage: SpillStorage | None,
        ask_return: Callable[[str, int], None],
        high_water: float = 0.8,
        grant_timeout: float = 30.0,
        grace: float = 2.0,
        name_of: Callable[[str], str] = str,
        readers: Callable[[ArenaLocation], list[Reader]] = _nobody,
    ) -> None:
        capacity = capacity // PAGE * PAGE
        self.arena = arena
        self._mover = Mover(arena, storage)
        self._ask_return = ask_return
        self.ask_owner: Callable[[AskOwner], None] = _ask_nobody
        self.tell_dropped: Callable[[TellDropped], None] = _tell_nobody
        self._machine = StoreMachine(
            StoreLimits(capacity, arena.size, PAGE, high_water, grant_timeout, storage is not None, grace),
            name_of,
            lambda: readers(arena.location),
        )
        self._reclaimer = Reclaimer(arena)
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="limelight-spill")
        self._events: deque[AnyEvent] = deque()
        self._handling = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._numbers = count(1)
        self._grants: dict[tuple[str, int], asyncio.Future[Grant]] = {}
        self._locates: dict[int, asyncio.Future[tuple[int, int]]] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    # What processes ask and report

    async def grant(self, process: str, size: int, wish: int = 0, request: int | None = None) -> Grant:
        """Let `process` write in a range of at least `size` bytes; of `wish` bytes where memory is plenty.

        Args:
            process: who asks, a process id.
            size: bytes that it needs now.
            wish: bytes that it would like, for more objects to come.
            request: a number that makes repeating the request harmless; unique in the process.

        Raises:
            ObjectStoreFullError: there is no room, and none came free, or not in time.
        """
        self._check_open()
        number = -next(self._numbers) if request is None else request
        pending = self._grants.get((process, number))
        if pending is not None:
            return await asyncio.shield(pending)
        answer: asyncio.Future[Grant] = self._loop.create_future()
        self._grants[process, number] = answer
        try:
            self._feed(GrantRequested(process, number, size, wish))
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                unused = answer.result()
                self._feed(GrantReturned(process, unused.grant, unused.offset, unused.size, touched=False))
            raise
        finally:
            del self._grants[process, number]

    def returned(self, process: str, grant: int, offset: int, size: int, touched: bool) -> None:
        """A process gives part of a grant back."""
        self._feed(GrantReturned(process, grant, offset, size, touched))

    def sealed(self, process: str, grant: int, object_id: bytes, owner: str, offset: int, size: int) -> None:
        """A process has written an object in its grant."""
        self._feed(Sealed(process, grant, object_id, owner, offset, size))

    def copied(self, process: str, grant: Grant, object_id: bytes, owner: str, size: int, wanted: bool) -> None:
        """A process has filled its grant from the front with a copy of another node's object; the rest goes back.

        `wanted`: somebody is about to read it.
        """
        self.arena.settle(grant.offset, grant.grant)
        self._feed(Sealed(process, grant.grant, object_id, owner, grant.offset, size, primary=False, wanted=wanted))
        if grant.size > size:
            self._feed(GrantReturned(process, grant.grant, grant.offset + size, grant.size - size, touched=False))

    def has(self, object_id: bytes) -> bool:
        """Whether there is a copy of it here, in memory or on disk."""
        return bool(self._machine.state.objects.copies(object_id))

    def room(self, spare: bool) -> int:
        """Bytes that a copy could get without taking any that is needed out of memory; `spare`: below high water."""
        state = self._machine.state
        limits = state.limits
        most = limits.high_water * limits.capacity if spare else limits.capacity
        return int(most) - state.used - state.queue.bytes + state.objects.droppable_bytes(self._loop.time())

    def freed(self, object_id: bytes, offset: int | None = None) -> None:
        """Nobody needs the object any more, or (`offset`) the copy that was written there."""
        self._feed(Freed(object_id, offset))

    def process_lost(self, process: str) -> None:
        """A process of this node has ended."""
        self._feed(ProcessLost(process))

    def owner_lost(self, owner: str) -> None:
        """A process of any node has ended."""
        self._feed(OwnerLost(owner))

    def disowned(self, keys: Sequence[int]) -> None:
        """Copies that `ask_owner` asked about: their owner has not heard of these, and will not."""
        self._feed(Disowned(tuple(keys)))

    async def locate(self, object_id: bytes) -> tuple[int, int]:
        """Where an object is in memory (offset, size), once it is there: for readers whose place was out of date.

        The place holds for 50 ms, and longer if it is asked for again soon; read each object as soon as it is located.

        Raises:
            ObjectNotHereError: this node has no copy.
            ObjectStoreFullError: it is on disk, and there was no memory for it in time.
        """
        self._check_open()
        number = next(self._numbers)
        answer: asyncio.Future[tuple[int, int]] = self._loop.create_future()
        self._locates[number] = answer
        try:
            self._feed(LocateRequested(number, object_id))
            return await answer
        finally:
            del self._locates[number]

    async def open(self, object_id: bytes) -> OpenObject:
        """An object's parts, in memory and pinned for as long as the views live.

        Raises:
            ObjectNotHereError, ObjectStoreFullError: as `locate`.
        """
        for _ in range(MOVES):
            offset, _size = await self.locate(object_id)
            try:
                return OpenObject(object_id, self.arena.read(object_id, offset))
            except ObjectMovedError:
                continue
        raise ObjectStoreFullError(
            f"Object {object_id.hex()} was moved out of memory {MOVES} times before it was read."
        )

    async def hold(self, object_id: bytes) -> memoryview:
        """The whole range of an object, in memory and pinned for as long as anything made of it lives.

        Raises:
            ObjectNotHereError, ObjectStoreFullError: as `locate`.
        """
        for _ in range(MOVES):
            offset, _size = await self.locate(object_id)
            try:
                return self.arena.hold(object_id, offset)
            except ObjectMovedError:
                continue
        raise ObjectStoreFullError(
            f"Object {object_id.hex()} was moved out of memory {MOVES} times before it was held."
        )

    def keep(self, object_id: bytes, offset: int) -> None:
        """The copy that was written at `offset` is the object's primary copy from now on: its others are lost."""
        self._feed(Promoted(object_id, offset))

    def primaries(self) -> list[StoredObject]:
        """The copies that must not be lost, in memory or on disk."""
        return [copy for copy in self._machine.state.objects.by_key.values() if copy.primary and not copy.freed]

    def stats(self) -> StoreStats:
        """What the store holds now."""
        state = self._machine.state
        copies = state.objects.by_key.values()
        return StoreStats(
            capacity=state.limits.capacity,
            objects=len(copies),
            resident=state.objects.resident,
            granted=state.grants.bytes,
            populated_free=state.space.populated_free,
            on_disk=sum(copy.size for copy in copies if copy.url),
            spilled_total=state.spilled_bytes,
            restored_total=state.restored_bytes,
            waiting=len(state.queue),
        )

    async def close(self) -> None:
        """End the store: what waits fails, spilled objects are deleted, the arena is left. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for answer in [*self._grants.values(), *self._locates.values()]:
            if not answer.done():
                answer.set_exception(StoreClosedError(_CLOSED))
        await asyncio.gather(*self._jobs)
        await self._loop.run_in_executor(self._threads, self._mover.clear)
        self._threads.shutdown()
        self._reclaimer.close()
        self.arena.close()

    # Carrying out

    def _feed(self, event: AnyEvent) -> None:
        """Handle an event and all that carrying out its commands gives rise to, one after the other."""
        if self._closed:
            return
        self._events.append(event)
        if self._handling:
            return
        self._handling = True
        try:
            while self._events:
                for command in self._machine.handle(self._events.popleft(), self._loop.time()):
                    self._execute(command)
        finally:
            self._handling = False
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._machine.wake_at()
        if at is not None:
            self._timer = self._loop.call_at(at, self._feed, Tick())

    def _execute(self, command: AnyCommand) -> None:  # noqa: C901 - one line for each command
        match command:
            case GrantReady() | GrantFailed():
                self._answer_grant(command)
            case Located() | LocateFailed():
                self._answer_locate(command)
            case AskReturn(process, grant):
                self._ask_return(process, grant)
            case AskOwner():
                self.ask_owner(command)
            case TellDropped():
                self.tell_dropped(command)
            case Scan():
                self._events.append(self._scan(command))
            case Reclaim(key, offset, size):
                self._events.append(ReclaimResult(key, self._reclaimer.reclaim(offset, size)))
            case Punch():
                self._start(partial(self._mover.punch, command))
            case Spill():
                self._start(partial(self._mover.spill, command))
            case Restore():
                self._start(partial(self._mover.restore, command))
            case DeleteSpilled(url):
                self._start(partial(self._mover.delete, url))
            case _:
                assert_never(command)

    def _answer_grant(self, command: GrantReady | GrantFailed) -> None:
        answer = self._grants.get((command.process, command.request))
        if answer is None or answer.done():
            if isinstance(command, GrantReady):
                self._events.append(
                    GrantReturned(command.process, command.grant, command.offset, command.size, touched=False)
                )
        elif isinstance(command, GrantReady):
            answer.set_result(Grant(command.grant, command.offset, command.size))
        else:
            answer.set_exception(ObjectStoreFullError(command.message))

    def _answer_locate(self, command: Located | LocateFailed) -> None:
        answer = self._locates.get(command.request)
        if answer is None or answer.done():
            return
        if isinstance(command, Located):
            answer.set_result((command.offset, command.size))
        else:
            answer.set_exception((ObjectStoreFullError if command.full else ObjectNotHereError)(command.message))

    def _scan(self, command: Scan) -> Scanned:
        """What a lost process left complete in its grant."""
        found = [
            FoundObject(header.object_id, header.owner.hex(), header.offset, header.size)
            for start, size in command.ranges
            for header in scan(self.arena.memory, start, start + size, command.grant)
            if header.sealed
        ]
        return Scanned(command.process, command.grant, tuple(found))

    def _start(self, job: Callable[[], AnyEvent | None]) -> None:
        task = self._loop.create_task(self._run(job))
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _run(self, job: Callable[[], AnyEvent | None]) -> None:
        event = await self._loop.run_in_executor(self._threads, job)
        if event is not None:
            self._feed(event)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(_CLOSED)


def _ask_nobody(_: AskOwner) -> None:
    """A store by itself: what was made for others stays as long as they live."""


def _tell_nobody(_: TellDropped) -> None:
    """A store by itself."""
