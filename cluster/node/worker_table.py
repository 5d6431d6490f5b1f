"""The worker processes of a node: started, watched, and remembered for a while after their end."""

import asyncio
import logging
import secrets
import signal
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ...actors.contract import WorkerConfig, encode
from ...exceptions import DeathCause, DeathKind
from ...transport.address import ProcessAddress
from ...transport.channel import Channel
from ..cluster_message import ActorStarted
from ..process.death import KernelOomWatch, KnownKill, death_cause
from ..process.identity import is_exiting
from ..process.log_batch import LogOrigin
from ..process.output import WorkerOutput
from ..process.output_follower import LogSink
from ..process.spawn import ProcessExit, SpawnRequest, WorkerProcess
from ..process.spawner_set import SpawnerSet
from .environment_desk import Prepared

logger = logging.getLogger(__name__)

_LEAVING_S = 5.0
"""How long a process that ends by itself may take."""

_REMEMBERED = 1000
"""How many ends are kept for those who still ask."""


class Worker:
    """One worker process.

    Attributes:
        prepared: what its environment has at hand for it.
        start_id: of the lease machine's order; 0 once answered.
        address: where it listens, once it is ready.
        lease_id: the lease it serves at the moment.
        runs_tasks: its last lease was for tasks, which end, and not for an actor.
        job_id: the job it works for; b"" before its first lease.
        known: why this node ended it, if it did.
        leaving: why it ends by itself, once it has said so; "" before.
        assigned: the encoded `AssignWorker` it was told last.
        constructed: the actors that it was told to construct: which incarnation, and how that ended.
    """

    def __init__(self, worker_id: str, start_id: int, prepared: Prepared) -> None:
        self.worker_id = worker_id
        self.prepared = prepared
        self.start_id = start_id
        self.address: ProcessAddress | None = None
        self.channel: Channel | None = None
        self.process: WorkerProcess | None = None
        self.output: WorkerOutput | None = None
        self.lease_id: int | None = None
        self.runs_tasks = False
        self.sequence = 0
        self.job_id = b""
        self.known: KnownKill | None = None
        self.leaving = ""
        self.assigned = b""
        self.constructed: dict[bytes, tuple[int, ActorStarted | None]] = {}
        self.ended = False


class WorkerTable:
    """Starts and ends worker processes. On the node process's loop.

    Args:
        spawners: start processes.
        base: what all workers are told; ids and sockets are filled in.
        folder: the session's folder, with `sockets/` and `logs/`.
        sink: gets the lines that workers print.
        on_end: called with a worker that has ended, and why.
    """

    def __init__(
        self,
        spawners: SpawnerSet,
        base: WorkerConfig,
        folder: Path,
        sink: LogSink,
        on_end: Callable[[Worker, DeathCause], None],
    ) -> None:
        self._spawners = spawners
        self._base = base
        self._folder = folder
        self._sink = sink
        self._on_end = on_end
        self._workers: dict[str, Worker] = {}
        self._causes: OrderedDict[str, DeathCause] = OrderedDict()
        self._waiting: dict[str, list[Callable[[DeathCause | None], None]]] = {}
        self._finishing: set[WorkerOutput] = set()
        self._kernel_oom = KernelOomWatch()
        self.node_name = "127.0.0.1"

    def __len__(self) -> int:
        return len(self._workers)

    def find(self, worker_id: str) -> Worker | None:
        """A living worker."""
        return self._workers.get(worker_id)

    def all(self) -> list[Worker]:
        """All living workers."""
        return list(self._workers.values())

    def channels(self) -> list[Channel]:
        """The channels to those that are ready."""
        return [worker.channel for worker in self._workers.values() if worker.channel is not None]

    async def start(
        self, start_id: int, environment: str, prepared: Prepared, folder: str = "", search_path: Sequence[str] = ()
    ) -> Worker:
        """Start a worker process; it reports back by itself.

        Args:
            start_id: of the lease machine's order.
            environment: its runtime environment's key.
            prepared: what that has at hand.
            folder: of its job's driver, where it is wanted before the worker is assigned.
            search_path: likewise.

        Raises:
            OSError: the operating system refuses.
            SpawnerLostError: the zygote is gone.
            RuntimeEnvSetupError: the environment's interpreter cannot run it.
        """
        worker_id = secrets.token_hex(16)
        worker = Worker(worker_id, start_id, prepared)
        config = msgspec.structs.replace(
            self._base,
            process_id=worker_id,
            socket=str(self._folder / "sockets" / worker_id[:12]),
            environment=environment,
            definition=prepared.definition,
            packages=prepared.packages,
            preset=prepared.preset,
            folder=folder,
            search_path=list(search_path),
        )
        origin = LogOrigin(b"", "worker", 0, self.node_name)
        output = WorkerOutput(self._folder / "logs", f"worker-{worker_id[:12]}", origin, self._sink)
        worker.output = output
        self._workers[worker_id] = worker
        request = SpawnRequest(worker_id, "limelight: worker idle", {}, encode(config))
        try:
            worker.process = await self._spawners.spawn(request, *output.child_ends, prepared.found.interpreter)
        except BaseException:
            del self._workers[worker_id]
            await output.finish()
            raise
        self.set_job(worker, worker.job_id, "worker")  # it may have been ready, and assigned, before this was heard of
        worker.process.exited.add_done_callback(lambda exited: self._exited(worker, exited))
        return worker

    def set_job(self, worker: Worker, job_id: bytes, name: str) -> None:
        """What a worker prints from now on is for that job."""
        worker.job_id = job_id
        if worker.output is not None and worker.process is not None:
            worker.output.set_origin(LogOrigin(job_id, name, worker.process.pid, self.node_name))

    def kill(self, worker: Worker, kind: DeathKind, explanation: str) -> None:
        """End a worker. `kind` and `explanation` become its death's cause, unless something else was ending it already.

        One that leaves by itself gets some time.
        """
        if worker.leaving:
            asyncio.get_running_loop().call_later(_LEAVING_S, self._spawners.signal, worker.worker_id, signal.SIGKILL)
            return
        dying = worker.process is not None and is_exiting(worker.process.pid)
        if worker.known is None and not dying:
            worker.known = KnownKill(kind, explanation)
        self._spawners.signal(worker.worker_id, signal.SIGKILL)

    def cause_of(self, worker_id: str, then: Callable[[DeathCause | None], None]) -> None:
        """Call back with why a worker ended, when that is known; with None where it never was this node's."""
        cause = self._causes.get(worker_id)
        if cause is not None or worker_id not in self._workers:
            then(cause)
        else:
            self._waiting.setdefault(worker_id, []).append(then)

    def _exited(self, worker: Worker, exited: "asyncio.Future[ProcessExit]") -> None:
        if exited.cancelled():
            return
        output = worker.output
        if output is not None:
            self._finishing.add(output)
            output.drain()
        tail = output.tail() if output is not None else ""
        ended = exited.result()
        unexplained = worker.known is None and ended.signal == signal.SIGKILL
        cause = death_cause(
            ended,
            tail,
            known=worker.known,
            leaving=worker.leaving,
            kernel_oom=self._kernel_oom.take_one() if unexplained else "",
            node_id=self._base.node_id.hex(),
        )
        self._workers.pop(worker.worker_id, None)
        self._causes[worker.worker_id] = cause
        if len(self._causes) > _REMEMBERED:
            self._causes.popitem(last=False)
        worker.ended = True
        (self._folder / "sockets" / worker.worker_id[:12]).unlink(missing_ok=True)
        self._on_end(worker, cause)
        for then in self._waiting.pop(worker.worker_id, ()):
            then(cause)

    async def finish_output(self, worker: Worker) -> None:
        """Wait until all that an ended worker has printed was handed on."""
        if worker.output is not None:
            await worker.output.finish()
            self._finishing.discard(worker.output)

    async def flush_output(self) -> None:
        """Wait until all that workers have printed so far was handed on; those that have ended, too."""
        live = [worker.output for worker in self._workers.values() if worker.output is not None]
        await asyncio.gather(*(output.flush() for output in [*live, *self._finishing]))
