"""Which worker to stop before the kernel stops something worse: decisions without I/O.

The kernel's killer picks the largest process, which may be the driver or the node process, and says little. Stopping
the newest worker whose task can be retried loses the least work, and the error says why.
"""

from collections.abc import Sequence

import msgspec

from .memory_usage import MemoryUsage

DEFAULT_THRESHOLD = 0.95
WORTHWHILE = 64 << 20
"""Stopping a worker that holds less than this, in bytes, would not help; others go first."""
_LISTED = 5
SETTLE_SECONDS = 5.0
"""How long a stopped worker may take to give its memory back before another one is chosen."""


class WorkerMemory(msgspec.Struct, frozen=True):
    """A worker, as a candidate.

    Attributes:
        worker_id: its process id in the cluster, 32 hex digits.
        pid: the operating system's.
        name: the task or actor it runs, for people.
        private: bytes of memory that come free when it ends.
        started: when its task began (or its actor was made), in seconds of the caller's clock.
        retriable: whether the work is done again elsewhere or later.
    """

    worker_id: str
    pid: int
    name: str
    private: int
    started: float
    retriable: bool


class ProcessMemory(msgspec.Struct, frozen=True):
    """A process of the node, for people: `name` says what it is, `private` what it holds, in bytes."""

    pid: int
    name: str
    private: int


class MemoryMonitor:
    """Decides whether a worker must be stopped. Not thread-safe.

    Args:
        threshold: share of the limit above which workers are stopped, above 0 and up to 1; 1 never stops any.
    """

    def __init__(self, threshold: float = DEFAULT_THRESHOLD) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"The threshold is a share of the node's memory, above 0 and up to 1, not {threshold}.")
        self.threshold = threshold
        self._stopped: str | None = None
        self._stopped_at = 0.0

    def check(self, memory: MemoryUsage, workers: Sequence[WorkerMemory], now: float) -> WorkerMemory | None:
        """The worker to stop at `now`, a clock that does not go back; call it a few times a second.

        One worker at a time: the next only when the last one has ended and memory is still short, or it is stuck.
        """
        if memory.fraction <= self.threshold or self.threshold == 1:
            return None
        stopping = any(worker.worker_id == self._stopped for worker in workers)
        if stopping and now < self._stopped_at + SETTLE_SECONDS:
            return None
        candidates = [worker for worker in workers if worker.worker_id != self._stopped]
        if not candidates:
            return None
        victim = max(candidates, key=_precedence)
        self._stopped, self._stopped_at = victim.worker_id, now
        return victim


def describe_stop(
    memory: MemoryUsage,
    threshold: float,
    victim: WorkerMemory,
    workers: Sequence[WorkerMemory],
    others: Sequence[ProcessMemory],
) -> str:
    """Why a worker was stopped, and which of the node's processes hold the most; for the error its callers see."""
    kind = "the newest whose work can be retried" if victim.retriable else "the newest; none of the work can be retried"
    return (
        f"The worker (pid {victim.pid}, running {victim.name}, {_gib(victim.private)}) was stopped because the node's "
        f"memory was nearly used up: {_gib(memory.used)} of {_gib(memory.limit)} ({memory.fraction:.1%}, the limit of "
        f"{memory.source}; workers are stopped above {threshold:.1%}). It was chosen as {kind}."
        + _listing("Workers", workers)
        + _listing("Other processes", others)
    )


def _listing(title: str, processes: Sequence[WorkerMemory | ProcessMemory]) -> str:
    largest = sorted(processes, key=lambda process: process.private, reverse=True)[:_LISTED]
    lines = [f"    {_gib(process.private)}  pid {process.pid}  {process.name}" for process in largest]
    return "\n".join([f"\n{title} that held the most:", *lines]) if lines else ""


def _precedence(worker: WorkerMemory) -> tuple[bool, bool, float]:
    return worker.private >= WORTHWHILE, worker.retriable, worker.started


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"
