"""A queue that tasks, actors and drivers share: `queue.Queue`'s methods, on an actor."""

import asyncio
import queue
from collections.abc import Iterable, Sequence
from typing import Any

from ... import actor, get, kill, wait

_WAITERS = 100_000
"""How many calls may wait in a queue's actor at once; they are coroutines, and cheap."""


class Empty(queue.Empty):
    """There is no item, or not in time."""


class Full(queue.Full):
    """There is no room, or not in time."""


class Queue:
    """First in, first out, for any number of producers and consumers anywhere in the cluster.

    The handle may be passed to tasks and actors, and used from several threads. The queue lives in an actor, which
    ends with the last handle or by `shutdown`. Blocking calls wait in the actor and take no resources there.

    Args:
        maxsize: most items in the queue; 0 or less: no limit.
        actor_options: options of the actor, such as `{"num_cpus": 1, "name": "jobs"}`.
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        options: dict[str, Any] = {"max_concurrency": _WAITERS, **(actor_options or {})}
        self.maxsize = maxsize
        self.actor: Any = _QueueActor.options(**options).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items there are now."""
        return get(self._live().size.remote())

    def qsize(self) -> int:
        """How many items there are now."""
        return self.size()

    def empty(self) -> bool:
        """There are no items now."""
        return self.size() == 0

    def full(self) -> bool:
        """There is no room now."""
        return 0 < self.maxsize <= self.size()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item.

        Args:
            item: anything that can be pickled.
            block: wait for room.
            timeout: seconds to wait at most; None: without limit.

        Raises:
            Full: there is no room (in time).
            ValueError: `timeout` is negative.
        """
        _check_timeout(timeout)
        if not get(self._live().put.remote([item], timeout if block else 0.0)):
            raise Full

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ASYNC109 - as in Ray
        """Like `put`, for coroutines."""
        _check_timeout(timeout)
        if not await self._live().put.remote([item], timeout if block else 0.0):
            raise Full

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item.

        Args:
            block: wait for one.
            timeout: seconds to wait at most; None: without limit.

        Raises:
            Empty: there is none (in time).
            ValueError: `timeout` is negative.
        """
        _check_timeout(timeout)
        return _first(get(self._live().get.remote(timeout if block else 0.0)))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as in Ray
        """Like `get`, for coroutines."""
        _check_timeout(timeout)
        return _first(await self._live().get.remote(timeout if block else 0.0))

    def put_nowait(self, item: Any) -> None:
        """Add an item, or raise Full at once."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """Take the oldest item, or raise Empty at once."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Add all the items in one call, or none of them.

        Raises:
            Full: there is no room for all.
            TypeError: `items` cannot be iterated over.
        """
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        batch = list(items)
        if not get(self._live().put.remote(batch, 0.0)):
            raise Full(f"Cannot add {len(batch)} items to queue of size {self.size()} and maxsize {self.maxsize}.")

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take that many items in one call, or none.

        Raises:
            Empty: there are not so many.
            TypeError, ValueError: `num_items` is no number of items.
        """
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        items: list[Any] | None = get(self._live().get_batch.remote(num_items))
        if items is None:
            raise Empty(f"Cannot get {num_items} items from queue of size {self.size()}.")
        return items

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the queue's actor; items in it are lost. Idempotent.

        Args:
            force: at once; else calls that have arrived are answered first.
            grace_period_s: seconds after which it is ended in any case.
        """
        if self.actor is None:
            return
        ended, self.actor = self.actor, None
        if not force:
            done, _ = wait([ended.__ray_terminate__.remote()], timeout=grace_period_s)
            if done:
                return
        kill(ended, no_restart=True)

    def _live(self) -> Any:
        if self.actor is None:
            raise RuntimeError("This queue has been shut down.")
        return self.actor


@actor
class _QueueActor:
    """Where a queue's items are. Its methods interleave only where they wait."""

    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def size(self) -> int:
        return self._queue.qsize()

    async def put(self, items: list[Any], timeout: float | None) -> bool:  # noqa: ASYNC109 - from `put`
        """Add all items if there is room for them, or for one in time; false otherwise."""
        if len(items) == 1 and timeout != 0:
            try:
                await asyncio.wait_for(self._queue.put(items[0]), timeout)
            except TimeoutError:
                return False
            return True
        if 0 < self._maxsize < self._queue.qsize() + len(items):
            return False
        for item in items:
            self._queue.put_nowait(item)
        return True

    async def get(self, timeout: float | None) -> list[Any]:  # noqa: ASYNC109 - from `get`
        """The oldest item in a list, which is empty when there was none in time."""
        if timeout == 0:
            return [self._queue.get_nowait()] if self._queue.qsize() else []
        try:
            return [await asyncio.wait_for(self._queue.get(), timeout)]
        except TimeoutError:
            return []

    async def get_batch(self, count: int) -> list[Any] | None:
        if self._queue.qsize() < count:
            return None
        return [self._queue.get_nowait() for _ in range(count)]


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")


def _first(items: Sequence[Any]) -> Any:
    if not items:
        raise Empty
    return items[0]
