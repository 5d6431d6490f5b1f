"""A synchronous actor with `max_concurrency` above one, or with concurrency groups: its calls run on threads."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from .hosted_actor import TERMINATE, HostedActor
from .running import Job

if TYPE_CHECKING:
    from .hub import Hub

DEFAULT_GROUP = "_default"


class ThreadedActor(HostedActor):
    """Each concurrency group has a pool of threads; methods without a group share the default one."""

    def __init__(self, hub: "Hub", creation: Job) -> None:
        super().__init__(hub, creation)
        options = creation.template.options
        sizes: dict[str, int] = dict(options.get("concurrency_groups") or {})
        sizes[DEFAULT_GROUP] = max(1, options.get("max_concurrency", 1))
        self._pools = {
            name: ThreadPoolExecutor(size, thread_name_prefix=f"{self.class_name}.{name}")
            for name, size in sizes.items()
        }
        self._running: set[Future[None]] = set()

    def run(self) -> None:
        """Construct the instance on the main thread; the pools serve the calls."""
        self._hub.execution.run(self._creation, self.construct)

    def deliver(self, job: Job) -> None:
        """Hand a call to its group's pool."""
        group = job.template.options.get("concurrency_group") or DEFAULT_GROUP
        pool = self._pools.get(group)
        if pool is None:
            self._hub.execution.refuse(
                job, ValueError(f"{self.class_name} has no concurrency group {group!r}; it has {sorted(self._pools)}.")
            )
            return
        if job.template.options.get("method") == TERMINATE:
            before = set(self._running)
            threading.Thread(target=self._run_last, args=(job, before), name=f"{self.class_name}.end").start()
            return
        future = pool.submit(self._run, job)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    def interrupt(self, job: Job) -> None:
        """A thread cannot be interrupted safely: the call runs to its end, as in Ray."""

    def _run_last(self, job: Job, before: "set[Future[None]]") -> None:
        """Run a call after those that are under way or queued."""
        wait(before)
        self._run(job)

    def _run(self, job: Job) -> None:
        if self._hub.executor.claim(job):
            try:
                self._hub.execution.run(job, self.method)
            finally:
                self._hub.executor.done(job)
