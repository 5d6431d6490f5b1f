"""Results of a pool that are not there yet: one of a map or call, or an iterator over many."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from multiprocessing import TimeoutError as PoolTimeoutError
from typing import Any

from .dispatcher import Arguments

logger = logging.getLogger(__name__)

Chunk = list[Arguments]
ChunkFuture = Future[list[Any]]


class AsyncResult:
    """The result of `apply_async`, `map_async` or `starmap_async`. Thread-safe.

    Args:
        chunks: what it waits for.
        single: the result is the one value of the one chunk, not a list.
        callback: called with the result, on `thread`, before it is ready for others.
        error_callback: likewise for an error.
        thread: where callbacks run, one after the other; none do once it has been shut down.
    """

    def __init__(
        self,
        chunks: list[ChunkFuture],
        *,
        single: bool,
        callback: Callable[[Any], object] | None,
        error_callback: Callable[[BaseException], object] | None,
        thread: ThreadPoolExecutor,
    ) -> None:
        self._chunks = chunks
        self._single = single
        self._callback = callback
        self._error_callback = error_callback
        self._thread = thread
        self._lock = threading.Lock()
        self._left = len(chunks)
        self._ready = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        for chunk in chunks:
            chunk.add_done_callback(self._on_chunk)
        if not chunks:
            self._settle()

    def get(self, timeout: float | None = None) -> Any:
        """The value; waits for it.

        Raises:
            multiprocessing.TimeoutError: it was not there within `timeout` seconds.
            Exception: what the function raised.
        """
        if not self._ready.wait(timeout):
            raise PoolTimeoutError
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is ready, or `timeout` seconds."""
        self._ready.wait(timeout)

    def ready(self) -> bool:
        """The call has ended, well or not."""
        return self._ready.is_set()

    def successful(self) -> bool:
        """It has ended without an error.

        Raises:
            ValueError: it has not ended.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def _on_chunk(self, chunk: ChunkFuture) -> None:
        with self._lock:
            self._left -= 1
            if self._error is None:
                self._error = chunk.exception()
            if self._left:
                return
        self._settle()

    def _settle(self) -> None:
        if self._error is None:
            values = [value for chunk in self._chunks for value in chunk.result()]
            self._value = values[0] if self._single else values
        self._chunks = []
        if self._callback is None and self._error_callback is None:
            self._ready.set()
            return
        try:
            self._thread.submit(self._call_back)
        except RuntimeError:  # the pool was ended while this result was on its way
            self._ready.set()

    def _call_back(self) -> None:
        try:
            if self._error is not None and self._error_callback is not None:
                self._error_callback(self._error)
            elif self._error is None and self._callback is not None:
                self._callback(self._value)
        except Exception:
            logger.exception("A callback of a pool failed.")
        finally:
            self._ready.set()


class IMapIterator:
    """Iterates over results in order, or as they come. Submits as it is consumed, `window` chunks ahead.

    Not thread-safe, but `submit_rest` may be called from another thread than `next`.
    """

    def __init__(
        self, chunks: Iterator[Chunk], submit: Callable[[Chunk], ChunkFuture], *, window: int, ordered: bool
    ) -> None:
        self._chunks = chunks
        self._submit = submit
        self._window = window
        self._ordered = ordered
        self._lock = threading.Lock()
        self._in_order: deque[ChunkFuture] = deque()
        self._as_they_come: queue.SimpleQueue[ChunkFuture] = queue.SimpleQueue()
        self._outstanding = 0
        self._values: deque[Any] = deque()
        self._top_up(window)

    def __iter__(self) -> "IMapIterator":
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Raises:
            StopIteration: there are no more.
            multiprocessing.TimeoutError: it was not there within `timeout` seconds.
            Exception: what the function raised; the rest of that chunk is lost, and the next chunk comes next.
        """
        while not self._values:
            self._top_up(self._window)
            if not self._outstanding:
                raise StopIteration
            self._values.extend(self._next_chunk(timeout))
        return self._values.popleft()

    def submit_rest(self) -> None:
        """Submit all that is left."""
        self._top_up(None)

    def _top_up(self, window: int | None) -> None:
        with self._lock:
            while window is None or self._outstanding < window:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                future = self._submit(chunk)
                self._outstanding += 1
                if self._ordered:
                    self._in_order.append(future)
                else:
                    future.add_done_callback(self._as_they_come.put)

    def _next_chunk(self, timeout: float | None) -> list[Any]:
        if self._ordered:
            future = self._in_order[0]
            try:
                future.exception(timeout)
            except FutureTimeoutError:
                raise PoolTimeoutError from None
            self._in_order.popleft()
        else:
            try:
                future = self._as_they_come.get(timeout=timeout)
            except queue.Empty:
                raise PoolTimeoutError from None
        with self._lock:
            self._outstanding -= 1
        return future.result()
