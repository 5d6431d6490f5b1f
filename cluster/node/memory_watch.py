"""The node's memory monitor at work: looks, and has a worker stopped before the kernel stops something worse."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...exceptions import DeathKind
from ..memory_monitor import MemoryMonitor, WorkerMemory
from ..memory_usage import MemoryUsage, node_memory, private_memory
from .setting import NodeSettings
from .worker_table import Worker, WorkerTable

if TYPE_CHECKING:
    from ..scheduling.lease_book import LeaseBook

logger = logging.getLogger(__name__)


class MemoryWatch:
    """On the node process's loop. A look takes less than a millisecond, and some for each worker when memory is short.

    Args:
        workers: those that may be stopped.
        leases: what they are used for.
        settings: when and how often.
        usage: reads the node's memory.
    """

    def __init__(
        self,
        workers: WorkerTable,
        leases: "LeaseBook",
        settings: NodeSettings,
        usage: Callable[[], MemoryUsage] = node_memory,
    ) -> None:
        self._workers = workers
        self._leases = leases
        self._pause = settings.memory_monitor_refresh_ms / 1000
        self._monitor = MemoryMonitor(settings.memory_usage_threshold)
        self._usage = usage
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on."""
        if self._pause and self._monitor.threshold < 1:
            self._timer = self._loop.call_later(self._pause, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        try:
            memory = self._usage()
            if memory.fraction > self._monitor.threshold:
                self._relieve(memory)
        finally:
            self.start()

    def _relieve(self, memory: MemoryUsage) -> None:
        listed = [listed for worker in self._workers.all() if (listed := self._listed(worker)) is not None]
        order = self._monitor.check(memory, listed, self._loop.time())
        victim = self._workers.find(order.worker_id) if order is not None else None
        if order is not None and victim is not None:
            logger.warning("%s", order.reason)
            self._workers.kill(victim, DeathKind.OUT_OF_MEMORY, order.reason)

    def _listed(self, worker: Worker) -> WorkerMemory | None:
        lease, process = self._leases.of_worker(worker.worker_id), worker.process
        private = private_memory(process.pid) if lease is not None and process is not None else None
        if lease is None or process is None or private is None:
            return None
        work, retriable = _work_of(process.pid), lease.demand.spec.retriable
        return WorkerMemory(worker.worker_id, process.pid, work, private, lease.since, retriable)


def _work_of(pid: int) -> str:
    """What a worker runs, as its title says (cluster/process/title.py)."""
    import psutil

    try:
        return psutil.Process(pid).cmdline()[0].removeprefix("limelight: ") or "a task"
    except (psutil.Error, IndexError):
        return "a task"
