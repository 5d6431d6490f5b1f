"""A fixed set of actors that share a stream of work."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ... import ObjectRef, get, wait

Submit = Callable[[Any, Any], "ObjectRef[Any]"]
"""Gives a value to an actor: `lambda actor, value: actor.work.remote(value)`."""


class ActorPool:
    """Hands values to whichever actor of the pool is free, one at a time each. Not thread-safe.

        pool = ActorPool([Worker.remote() for _ in range(4)])
        list(pool.map(lambda actor, value: actor.double.remote(value), range(100)))

    Results are taken in the order of submission (`get_next`, `map`) or of completion (`get_next_unordered`,
    `map_unordered`); both may be mixed. An actor is free again when its result is taken.

    Args:
        actors: handles; the pool does not end them.
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: deque[Any] = deque(actors)
        self._waiting: deque[tuple[Submit, Any]] = deque()
        self._running: dict[ObjectRef[Any], Any] = {}  # in the order of submission

    def submit(self, fn: Submit, value: Any) -> None:
        """Have `fn(actor, value)` called with an actor, now if one is free, else when one has become free."""
        if self._idle:
            actor = self._idle.popleft()
            self._running[fn(actor, value)] = actor
        else:
            self._waiting.append((fn, value))

    def has_next(self) -> bool:
        """There are results that have not been taken, ready or not."""
        return bool(self._running)

    def has_free(self) -> bool:
        """There is an actor for which there is no work."""
        return bool(self._idle) and not self._waiting

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of submission; waits for it.

        Args:
            timeout: seconds to wait at most.
            ignore_if_timedout: a result that is not there in time is passed over, and the next one comes next.

        Raises:
            StopIteration: no result is left.
            TimeoutError: it was not there in time.
            Exception: the task's own.
        """
        return self._take(list(self._running)[:1], timeout, drop=ignore_if_timedout)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Whichever result is ready first; waits for one. Arguments and errors as for `get_next`."""
        return self._take(list(self._running), timeout, drop=ignore_if_timedout)

    def map(self, fn: Submit, values: Iterable[Any]) -> Iterator[Any]:
        """Submit every value at once; iterates over the results in the order of the values.

        Results of earlier submissions are passed over.
        """
        return self._map(fn, values, self.get_next)

    def map_unordered(self, fn: Submit, values: Iterable[Any]) -> Iterator[Any]:
        """Like `map`, in the order of completion."""
        return self._map(fn, values, self.get_next_unordered)

    def push(self, actor: Any) -> None:
        """Add an actor.

        Raises:
            ValueError: it is in the pool already.
        """
        if actor in self._idle or actor in self._running.values():
            raise ValueError("Actor already belongs to current ActorPool")
        self._release(actor)

    def pop_idle(self) -> Any | None:
        """Take a free actor out of the pool; None when there is none."""
        return self._idle.popleft() if self.has_free() else None

    def _map(self, fn: Submit, values: Iterable[Any], take: Callable[[], Any]) -> Iterator[Any]:
        self._waiting.clear()
        for ref in list(self._running):
            self._finish(ref)
        for value in values:
            self.submit(fn, value)

        def results() -> Iterator[Any]:
            while self.has_next():
                yield take()

        return results()

    def _take(self, candidates: "list[ObjectRef[Any]]", timeout: float | None, *, drop: bool) -> Any:
        if not candidates:
            raise StopIteration("No more results to get")
        ready, _ = wait(candidates, num_returns=1, timeout=timeout)
        if not ready:
            if not drop:
                raise TimeoutError("Timed out waiting for result")
            self._finish(candidates[0])
            raise TimeoutError(f"Timed out waiting for result. The task {candidates[0]} has been ignored.")
        self._finish(ready[0])
        return get(ready[0])

    def _finish(self, ref: "ObjectRef[Any]") -> None:
        self._release(self._running.pop(ref))

    def _release(self, actor: Any) -> None:
        self._idle.append(actor)
        if self._waiting:
            self.submit(*self._waiting.popleft())
