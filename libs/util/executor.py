"""`concurrent.futures` on the cluster."""

import concurrent.futures
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

from ... import ObjectRef, cancel, task

P = ParamSpec("P")
T = TypeVar("T")


class _TaskFuture(Future[Any]):
    """A future that can be cancelled until it has its result, and tells those who wait for it when it is."""

    def __init__(self) -> None:
        super().__init__()
        self._settling = threading.RLock()

    def cancel(self) -> bool:
        """Cancel the call, also while it runs; false when it has ended."""
        with self._settling:
            first = not self.cancelled()
            cancelled = super().cancel()
            if cancelled and first:
                self.set_running_or_notify_cancel()
        return cancelled

    def settle(self) -> bool:
        """Rule out cancelling from now on; false when it has been cancelled."""
        with self._settling:
            return not self.cancelled() and self.set_running_or_notify_cancel()


class Executor(concurrent.futures.Executor):
    """Runs each call as a task: a `concurrent.futures.Executor` whose workers are the cluster's. Thread-safe.

        with Executor() as executor:
            print(list(executor.map(pow, range(10), range(10))))

    Arguments that are ObjectRefs arrive as their values, as in a task. A future's `cancel` also stops a call that runs
    already, because where it stands is the cluster's affair; so `running()` is never true.

    Args:
        max_workers: most calls under way at once; None: as many as the cluster takes.
        task_options: options of the tasks, such as `num_cpus=2` or `max_retries=0`.
    """

    def __init__(self, max_workers: int | None = None, **task_options: Any) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, not {max_workers}.")
        self._call: Any = task(**task_options)(_call) if task_options else task(_call)
        self._limit = max_workers
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._waiting: deque[tuple[_TaskFuture, tuple[Any, ...], dict[str, Any]]] = deque()
        self._running: dict[_TaskFuture, ObjectRef[Any]] = {}
        self._starting = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` as a task.

        Raises:
            RuntimeError: the executor has been shut down.
        """
        future = _TaskFuture()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append((future, (fn, *args), kwargs))
        self._start()
        return future

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """Like `concurrent.futures.Executor.map`; `chunksize` calls at a time run as one task."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        chunks = super().map(
            partial(_call_each, fn), _chunks(zip(*iterables, strict=False), chunksize), timeout=timeout
        )
        return itertools.chain.from_iterable(chunks)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.

        Args:
            wait: return when all calls have ended.
            cancel_futures: cancel all that have not ended, those that run included.
        """
        with self._lock:
            self._closed = True
            unfinished = [entry[0] for entry in self._waiting] + list(self._running)
        if cancel_futures:
            for future in unfinished:
                future.cancel()
        if wait:
            with self._idle:
                self._idle.wait_for(lambda: not self._waiting and not self._running and not self._starting)

    def _start(self) -> None:
        """Hand waiting calls to the cluster, as many as the limit allows."""
        while True:
            with self._lock:
                under_way = len(self._running) + self._starting
                if not self._waiting or (self._limit is not None and under_way >= self._limit):
                    self._idle.notify_all()
                    return
                future, args, kwargs = self._waiting.popleft()
                if future.cancelled():
                    continue
                self._starting += 1
            self._start_one(future, args, kwargs)

    def _start_one(self, future: _TaskFuture, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            ref: ObjectRef[Any] = self._call.remote(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - an argument that cannot be pickled; the future has it
            with self._lock:
                self._starting -= 1
            if future.settle():
                future.set_exception(error)
            return
        with self._lock:
            self._starting -= 1
            self._running[future] = ref
        future.add_done_callback(partial(self._stop, ref))
        ref.future().add_done_callback(partial(self._finish, future))

    def _stop(self, ref: ObjectRef[Any], future: Future[Any]) -> None:
        """The future has ended: if by being cancelled, its task is not needed any more."""
        if future.cancelled():
            cancel(ref)

    def _finish(self, future: _TaskFuture, result: Future[Any]) -> None:
        """The task has ended; called by the runtime."""
        if future.settle():
            error = result.exception()
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result.result())
        with self._lock:
            self._running.pop(future, None)
        self._start()


def _call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


def _call_each(fn: Callable[..., Any], argument_lists: list[tuple[Any, ...]]) -> list[Any]:
    return [fn(*args) for args in argument_lists]


def _chunks(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk
