"""A node's worker processes: which are starting, idle or in use, and which to start or stop.

A worker belongs to one runtime environment for life. It is fresh until its first lease, which ties it to that lease's
job. Idle workers are reused, newest first (their caches are warm), and stopped when idle for long.
"""

from collections.abc import Iterable, Mapping

import msgspec

from .lease_message import CancelStart, StartWorker, StopWorker

PoolKey = tuple[str, bytes]
"""Runtime environment and job; the job is empty for fresh workers."""

FRESH = b""


class PoolConfig(msgspec.Struct, frozen=True):
    """Limits of a node's worker pool.

    Attributes:
        prestart: fresh workers of the default environment started at first, so that the first tasks need not wait.
        spares: fresh workers of the default environment that are kept ready: one that is taken is replaced.
        max_starting: processes that start at one time; those whose environment is still made do not count.
        start_timeout: seconds after which a start counts as failed.
        idle_timeout: seconds after which an idle worker is stopped.
        keep_idle: this many idle workers stay however long they idle (None: as many as were prestarted).
    """

    prestart: int = 0
    spares: int = 0
    max_starting: int = 16
    start_timeout: float = 60.0
    idle_timeout: float = 30.0
    keep_idle: int | None = None


class WorkerPool:
    """The machine's part that knows processes. Decides, and returns commands; not thread-safe."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._next_start = 1
        self._prestarted = False
        self._retired = False
        self._starting: dict[int, tuple[PoolKey, float]] = {}
        self._preparing: dict[int, PoolKey] = {}
        self._idle: dict[PoolKey, dict[str, float]] = {}
        self._workers: dict[str, PoolKey] = {}

    def __contains__(self, worker_id: str) -> bool:
        return worker_id in self._workers

    def __len__(self) -> int:
        return len(self._workers)

    def idle_count(self) -> int:
        """Workers without a lease."""
        return sum(len(workers) for workers in self._idle.values())

    def take(self, env_key: str, job_id: bytes) -> str | None:
        """An idle worker of the environment, of this job or fresh (and the job's from now on), or None."""
        for key in ((env_key, job_id), (env_key, FRESH)):
            if workers := self._idle.get(key):
                worker_id, _ = workers.popitem()
                self._workers[worker_id] = (env_key, job_id)
                return worker_id
        return None

    def started(self, start_id: int, worker_id: str, now: float) -> bool:
        """A worker came up and is idle. False for one that nobody waits for any more: it is to be stopped."""
        start = self._starting.pop(start_id, None)
        if start is None:
            return worker_id in self._workers  # doubled message, or a start given up
        self._workers[worker_id] = start[0]
        self._idle.setdefault(start[0], {})[worker_id] = now
        return True

    def prepared(self, start_id: int, now: float) -> None:
        """What a start's environment needs is at hand; its process starts now."""
        key = self._preparing.pop(start_id, None)
        if key is not None:
            self._starting[start_id] = (key, now)

    def start_failed(self, start_id: int) -> PoolKey | None:
        """A start ended without a worker; returns what it was for, None if it was given up before."""
        preparing = self._preparing.pop(start_id, None)
        start = self._starting.pop(start_id, None)
        return preparing if start is None else start[0]

    def give_back(self, worker_id: str, now: float) -> None:
        """A lease ended and its worker is idle again."""
        key = self._workers.get(worker_id)
        if key is not None:
            self._idle.setdefault(key, {})[worker_id] = now

    def forget(self, worker_id: str) -> bool:
        """The worker ended or is being stopped; False if it was unknown."""
        key = self._workers.pop(worker_id, None)
        if key is not None:
            self._idle.get(key, {}).pop(worker_id, None)
        return key is not None

    def plan(self, waiting: Mapping[PoolKey, int], now: float) -> list[StartWorker]:
        """Starts that are needed so that `waiting` leases get workers, within the limit, in the order of the keys."""
        coming: dict[PoolKey, int] = {}
        for key in [*(key for key, _ in self._starting.values()), *self._preparing.values()]:
            coming[key] = coming.get(key, 0) + 1
        starts: list[StartWorker] = []
        for (env_key, job_id), count in waiting.items():
            missing = count - coming.get((env_key, job_id), 0) - coming.get((env_key, FRESH), 0)
            room = self._room() if not env_key else self._config.max_starting - self._preparing_of(env_key)
            starts += [self._start((env_key, job_id), now) for _ in range(min(missing, room))]
        if not starts and not self._starting and not self._retired and self._wants_another():
            starts.append(self._start(("", FRESH), now))
        return starts

    def cancel(self, waiting: Mapping[PoolKey, int]) -> list[CancelStart]:
        """Give up starts whose environment is still made, where no lease waits for them: making may take long.

        A few too many are left alone: they wait for the very environment that the others need.
        """
        unwanted = [start_id for start_id, key in self._preparing.items() if key not in waiting]
        for start_id in unwanted:
            del self._preparing[start_id]
        return [CancelStart(start_id) for start_id in unwanted]

    def _wants_another(self) -> bool:
        """Whether to start a fresh worker ahead of need.

        One at a time: several that start side by side are ready later than the first of them alone, which is the one
        that a session's first task waits for (8 ms against 15 on 2 cores).
        """
        self._prestarted = self._prestarted or len(self._workers) >= self._config.prestart
        return not self._prestarted or len(self._idle.get(("", FRESH), ())) < self._config.spares

    def overdue(self, now: float) -> list[int]:
        """Starts that took too long; the machine treats them as failed.

        Those of an environment are not among them: how long they may take is the environment's to say, and the node
        manager watches it.
        """
        limit = self._config.start_timeout
        return [start_id for start_id, (key, since) in self._starting.items() if not key[0] and since + limit <= now]

    def reap(self, now: float) -> list[StopWorker]:
        """Stop workers that idled too long, oldest first, down to `keep_idle`."""
        keep = self._config.prestart if self._config.keep_idle is None else self._config.keep_idle
        limit = self._config.idle_timeout
        spares = set(sorted(self._idle.get(("", FRESH), {}))[: self._config.spares])
        old = sorted((since, name) for name, since in self._all_idle() if since + limit <= now and name not in spares)
        surplus = old[: max(0, self.idle_count() - len(spares) - keep)]
        for _, worker_id in surplus:
            self.forget(worker_id)
        return [StopWorker(worker_id, "idle for too long") for _, worker_id in surplus]

    def wake_at(self) -> float | None:
        """When `overdue` or `reap` next has something to do; None for never."""
        keep = self._config.prestart if self._config.keep_idle is None else self._config.keep_idle
        times = [since + self._config.start_timeout for key, since in self._starting.values() if not key[0]]
        spares = min(self._config.spares, len(self._idle.get(("", FRESH), ())))
        if self.idle_count() - spares > keep:
            times.append(min(since for _, since in self._all_idle()) + self._config.idle_timeout)
        return min(times, default=None)

    def retire(self) -> list[StopWorker]:
        """The node will not be used any more: stop the idle workers, and start none ahead of need."""
        self._retired = True
        idle = [worker for worker, _ in self._all_idle()]
        for worker_id in idle:
            self.forget(worker_id)
        return [StopWorker(worker_id, "its node is draining") for worker_id in idle]

    def stop_job(self, job_id: bytes) -> list[StopWorker]:
        """Stop the idle workers of a job that has ended."""
        mine = [worker for key, workers in self._idle.items() if key[1] == job_id for worker in workers]
        for worker_id in mine:
            self.forget(worker_id)
        return [StopWorker(worker_id, "its job has ended") for worker_id in mine]

    def _all_idle(self) -> Iterable[tuple[str, float]]:
        return ((worker, since) for workers in self._idle.values() for worker, since in workers.items())

    def _preparing_of(self, env_key: str) -> int:
        return sum(key[0] == env_key for key in self._preparing.values())

    def _room(self) -> int:
        return max(0, self._config.max_starting - len(self._starting))

    def _start(self, key: PoolKey, now: float) -> StartWorker:
        start_id = self._next_start
        self._next_start += 1
        if key[0]:
            self._preparing[start_id] = key
        else:
            self._starting[start_id] = (key, now)
        return StartWorker(start_id, *key)
