"""Gives the chunks of work of a pool to its worker actors, each to whichever is free."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from .... import actor, kill, wait
from ....exceptions import RayActorError

Arguments = tuple[Sequence[Any], dict[str, Any]]


@actor
class PoolWorker:
    """One process of a pool."""

    def __init__(self, initializer: Callable[..., Any] | None, initargs: Sequence[Any]) -> None:
        if initializer is not None:
            initializer(*initargs)

    def run(self, function: Callable[..., Any], calls: list[Arguments]) -> list[Any]:
        """The results of the calls; the first error ends the chunk."""
        return [function(*args, **kwargs) for args, kwargs in calls]


class _Chunk(NamedTuple):
    function: Any  # the function, or a ref to it
    calls: list[Arguments]
    result: "Future[list[Any]]"


class _Slot:
    """The place of one worker, which is replaced when it has died or served its time."""

    def __init__(self) -> None:
        self.worker: Any = None
        self.busy = False
        self.chunks = 0


class Dispatcher:
    """See the module. Thread-safe; callbacks come on the runtime's threads, or at once in local mode.

    Args:
        size: number of workers, which are started at once.
        make_worker: starts one.
        max_chunks: chunks after which a worker is replaced; 0: never.
    """

    def __init__(self, size: int, make_worker: Callable[[], Any], max_chunks: int = 0) -> None:
        self._make_worker = make_worker
        self._max_chunks = max_chunks
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._waiting: deque[_Chunk] = deque()
        self._running: dict[Future[list[Any]], _Slot] = {}
        self._sending = False
        self._send_again = False
        self._terminated = False
        self._slots = [_Slot() for _ in range(size)]
        for slot in self._slots:
            slot.worker = make_worker()

    def submit(self, function: Any, calls: list[Arguments]) -> "Future[list[Any]]":
        """Have a worker make the calls; the future gets their results, or the first error.

        Raises:
            ValueError: the pool was terminated.
        """
        chunk = _Chunk(function, calls, Future())
        with self._lock:
            if self._terminated:
                raise ValueError("Pool not running")
            self._waiting.append(chunk)
        self._send()
        return chunk.result

    def terminate(self) -> None:
        """End the workers now; what is not done fails. Idempotent."""
        with self._lock:
            self._terminated = True
            waiting, self._waiting = list(self._waiting), deque()
            running, self._running = list(self._running), {}
            workers = self._take_workers()
            self._idle.notify_all()
        for worker in workers:
            kill(worker)
        for result in [*(chunk.result for chunk in waiting), *running]:
            result.set_exception(RuntimeError("The pool was terminated before this was done."))

    def finish(self) -> None:
        """Wait until all that was submitted is done, and let the workers end as programs do. Idempotent."""
        with self._idle:
            self._idle.wait_for(lambda: not self._waiting and not self._running)
            self._terminated = True
            workers = self._take_workers()
        _let_end(workers)

    def _take_workers(self) -> list[Any]:
        workers = [slot.worker for slot in self._slots if slot.worker is not None]
        for slot in self._slots:
            slot.worker = None
        return workers

    def _send(self) -> None:
        """Send what can be sent. One thread at a time; in local mode a chunk is done, and this called, while it is."""
        with self._lock:
            self._send_again = True
            if self._sending:
                return
            self._sending = True
        while (assigned := self._assign()) is not None:
            slot, chunk = assigned
            try:
                worker = self._worker_of(slot)
                done: Future[list[Any]] = worker.run.remote(chunk.function, chunk.calls).future()
            except Exception as error:  # noqa: BLE001 - such as an argument that cannot be pickled: its result has it
                done = Future()
                done.set_exception(error)
            done.add_done_callback(partial(self._on_done, slot, chunk))

    def _worker_of(self, slot: _Slot) -> Any:
        with self._lock:
            if self._terminated:
                raise ValueError("Pool not running")
            if slot.worker is None:
                slot.worker = self._make_worker()
            return slot.worker

    def _assign(self) -> tuple[_Slot, _Chunk] | None:
        """The next chunk and a worker for it; None, and nobody is sending any more, when there is none."""
        with self._lock:
            while self._send_again:
                slot = next((slot for slot in self._slots if not slot.busy), None)
                if slot is not None and self._waiting:
                    chunk = self._waiting.popleft()
                    slot.busy = True
                    slot.chunks += 1
                    self._running[chunk.result] = slot
                    return slot, chunk
                self._send_again = False
            self._sending = False
            return None

    def _on_done(self, slot: _Slot, chunk: _Chunk, done: "Future[list[Any]]") -> None:
        error = done.exception()
        with self._lock:
            worker, served = slot.worker, 0 < self._max_chunks <= slot.chunks
            if served or isinstance(error, RayActorError):
                slot.worker, slot.chunks = None, 0
            slot.busy = False
            ours = self._running.pop(chunk.result, None) is not None
            self._idle.notify_all()
        if served and worker is not None:
            _let_end([worker], patience=0)
        if ours and error is not None:
            chunk.result.set_exception(error)
        elif ours:
            chunk.result.set_result(done.result())
        self._send()


def _let_end(workers: list[Any], patience: float = 10.0) -> None:
    """Have workers end after what they do, with their `atexit` handlers; wait for it for so many seconds."""
    ends = [worker.__ray_terminate__.remote() for worker in workers]
    if ends and patience:
        wait(ends, num_returns=len(ends), timeout=patience)
