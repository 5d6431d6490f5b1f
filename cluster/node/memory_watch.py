"""The node's memory monitor at work: looks, and has a worker stopped before the kernel stops something worse."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ...exceptions import DeathKind
from ..memory_monitor import MemoryMonitor, ProcessMemory, WorkerMemory, describe_stop
from ..memory_usage import MemoryUsage, node_memory, private_memory
from ..process.title import TITLE_START, title_of, work_of
from .setting import NodeSettings
from .worker_table import Worker, WorkerTable

if TYPE_CHECKING:
    from ..scheduling.lease_book import LeaseBook

_WORTH_NAMING = 16 << 20
"""Processes that hold less, in bytes, are not listed."""

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
        chosen = self._monitor.check(memory, listed, self._loop.time())
        victim = self._workers.find(chosen.worker_id) if chosen is not None else None
        if chosen is not None and victim is not None:
            others = _others({worker.pid for worker in listed})
            reason = describe_stop(memory, self._monitor.threshold, chosen, listed, others)
            logger.warning("%s", reason)
            self._workers.kill(victim, DeathKind.OUT_OF_MEMORY, reason)

    def _listed(self, worker: Worker) -> WorkerMemory | None:
        lease, process = self._leases.of_worker(worker.worker_id), worker.process
        private = private_memory(process.pid) if lease is not None and process is not None else None
        if lease is None or process is None or private is None:
            return None
        work, retriable = work_of(process.pid), lease.demand.spec.retriable
        return WorkerMemory(worker.worker_id, process.pid, work, private, lease.since, retriable)


def _others(known: set[int]) -> list[ProcessMemory]:
    """The machine's other processes: what is short of memory may be none of the workers. Takes some milliseconds."""
    import psutil  # memory is short: until then nobody needs it

    found: list[ProcessMemory] = []
    for pid in psutil.pids():
        private = private_memory(pid) if pid not in known else None
        if private is not None and private >= _WORTH_NAMING:
            found.append(ProcessMemory(pid, _name(pid), private))
    return found


def _name(pid: int) -> str:
    """A process for people: no more of its arguments than the script, for the others may be secret."""
    title = title_of(pid)
    if title.startswith(TITLE_START):
        return title
    import psutil

    try:
        process = psutil.Process(pid)
        scripts = [Path(word).name for word in process.cmdline()[1:] if word.endswith(".py")]
        return " ".join([process.name(), *scripts[:1]])
    except psutil.Error:
        return "a process that has ended"
