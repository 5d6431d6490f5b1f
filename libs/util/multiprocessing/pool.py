"""A `multiprocessing.Pool` whose processes are actors anywhere in the cluster."""

import itertools
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, Self

from .... import cluster_resources, init, is_initialized, put
from .dispatcher import Arguments, Dispatcher, PoolWorker
from .result import AsyncResult, Chunk, IMapIterator

_CHUNKS_PER_PROCESS = 4
_WINDOW_PER_PROCESS = 2

Callback = Callable[[Any], object]
ErrorCallback = Callable[[BaseException], object]


class Pool:
    """Runs calls of functions in parallel; each method is that of `multiprocessing.pool.Pool`.

    Differences: `imap` and `imap_unordered` take from their iterable as they are consumed, so it may be endless; a call
    whose process died raises ActorDiedError, and the process is replaced.

    Args:
        processes: how many; None: the cluster's CPUs.
        initializer: called in each process first, with `initargs`.
        initargs: its arguments.
        maxtasksperchild: chunks of work after which a process is replaced; None: never.
        context: ignored.
        ray_address: cluster to connect to where there is no session yet; else the environment's LIMELIGHT_ADDRESS or
            RAY_ADDRESS; else a local one with `processes` CPUs is started.
        ray_remote_args: options of the actors; one CPU each by default.

    Raises:
        ValueError: `processes` is not positive, or more than the cluster has CPUs.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        del context
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if maxtasksperchild is not None and maxtasksperchild <= 0:
            raise ValueError("maxtasksperchild must be a positive int or None")
        self._processes = _start_session(processes, ray_address)
        worker_class: Any = PoolWorker.options(**{"num_cpus": 1, **(ray_remote_args or {})})
        arguments = (initializer, tuple(initargs))
        self._dispatcher = Dispatcher(
            self._processes, lambda: worker_class.remote(*arguments), max_chunks=maxtasksperchild or 0
        )
        self._closed = False
        self._callbacks = ThreadPoolExecutor(1, thread_name_prefix="limelight-pool-callbacks")
        self._iterators: weakref.WeakSet[IMapIterator] = weakref.WeakSet()

    def apply(
        self,
        func: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwds: dict[str, Any] | None = None,
        *,
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """The value of `func(*args, **kwds)`; `kwargs` is Ray's name for `kwds`."""
        return self.apply_async(func, args, kwds, kwargs=kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwds: dict[str, Any] | None = None,
        callback: Callback | None = None,
        error_callback: ErrorCallback | None = None,
        *,
        kwargs: dict[str, Any] | None = None,
    ) -> AsyncResult:
        """Start `func(*args, **kwds)`; `kwargs` is Ray's name for `kwds`."""
        self._check_running()
        chunk: Chunk = [(tuple(args or ()), kwds or kwargs or {})]
        return self._result(func, [chunk], callback, error_callback, single=True)

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """The values of `func` for each item, in order."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: ErrorCallback | None = None,
    ) -> AsyncResult:
        """Start `map`."""
        self._check_running()
        return self._map(func, [((item,), {}) for item in iterable], chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Sequence[Any]], chunksize: int | None = None
    ) -> list[Any]:
        """Like `map`; each item is a sequence of arguments."""
        return self.starmap_async(func, iterable, chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Sequence[Any]],
        chunksize: int | None = None,
        callback: Callback | None = None,
        error_callback: ErrorCallback | None = None,
    ) -> AsyncResult:
        """Start `starmap`."""
        self._check_running()
        return self._map(func, [(tuple(args), {}) for args in iterable], chunksize, callback, error_callback)

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1) -> IMapIterator:
        """An iterator over the values of `func`, in order."""
        return self._imap(func, iterable, chunksize, ordered=True)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> IMapIterator:
        """An iterator over the values of `func`, as they come."""
        return self._imap(func, iterable, chunksize, ordered=False)

    def close(self) -> None:
        """Take no more work; processes end when `join` finds theirs done."""
        self._closed = True

    def terminate(self) -> None:
        """End the processes now; what is not done fails."""
        self._closed = True
        self._dispatcher.terminate()
        self._callbacks.shutdown(wait=False)

    def join(self) -> None:
        """Wait until all work is done and the processes have ended.

        Raises:
            ValueError: neither `close` nor `terminate` was called.
        """
        if not self._closed:
            raise ValueError("Pool is still running")
        for iterator in list(self._iterators):
            iterator.submit_rest()
        self._dispatcher.finish()
        self._callbacks.shutdown(wait=False)

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.terminate()

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def _map(
        self,
        func: Callable[..., Any],
        calls: list[Arguments],
        chunksize: int | None,
        callback: Callback | None,
        error_callback: ErrorCallback | None,
    ) -> AsyncResult:
        if chunksize is None:
            chunksize = max(1, -(-len(calls) // (self._processes * _CHUNKS_PER_PROCESS)))
        chunks = list(_chunks(iter(calls), chunksize))
        return self._result(put(func), chunks, callback, error_callback, single=False)

    def _result(
        self,
        function: Any,
        chunks: list[Chunk],
        callback: Callback | None,
        error_callback: ErrorCallback | None,
        *,
        single: bool,
    ) -> AsyncResult:
        futures = [self._dispatcher.submit(function, chunk) for chunk in chunks]
        return AsyncResult(
            futures, single=single, callback=callback, error_callback=error_callback, thread=self._callbacks
        )

    def _imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None, *, ordered: bool
    ) -> IMapIterator:
        self._check_running()
        function = put(func)
        calls: Iterator[Arguments] = (((item,), {}) for item in iterable)
        iterator = IMapIterator(
            _chunks(calls, 1 if chunksize is None else chunksize),
            lambda chunk: self._dispatcher.submit(function, chunk),
            window=self._processes * _WINDOW_PER_PROCESS,
            ordered=ordered,
        )
        self._iterators.add(iterator)
        return iterator

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")


def _start_session(processes: int | None, address: str | None) -> int:
    """Make sure of a session, and find the number of processes."""
    if processes is not None and processes <= 0:
        raise ValueError("Processes in the pool must be >0.")
    if not is_initialized():
        address = address or os.environ.get("LIMELIGHT_ADDRESS") or os.environ.get("RAY_ADDRESS")
        if address:
            init(address=address)
        else:
            init(num_cpus=processes)
    cpus = int(cluster_resources().get("CPU", 0))
    if processes is None:
        return max(1, cpus)
    if processes > cpus:
        raise ValueError(f"Tried to start a pool with {processes} processes, but the cluster has only {cpus} CPUs.")
    return processes


def _chunks(calls: Iterator[Arguments], size: int) -> Iterator[Chunk]:
    if size < 1:
        raise ValueError(f"Chunksize must be 1+, not {size}")
    return iter(lambda: list(itertools.islice(calls, size)), [])
