"""The processes of a node, as error messages speak of them."""

from ...transport.shm.backing import ArenaLocation
from ..process.title import work_of
from ..store.reading import Reader, bytes_read_by
from ..system_process import SystemProcess
from .job_table import JobTable
from .worker_table import WorkerTable


class Residents:
    """Knows them by what they run and by their pids. On the node process's loop; takes milliseconds."""

    def __init__(self, process: SystemProcess, workers: WorkerTable, jobs: JobTable, node_id: bytes) -> None:
        self._process = process
        self._workers = workers
        self._jobs = jobs
        self._node_id = node_id.hex()

    def name_of(self, process_id: str) -> str:
        """A process for people: what it is, or what it runs, and its pid."""
        worker = self._workers.find(process_id)
        if worker is not None and worker.process is not None:
            return f"{work_of(worker.process.pid)} (pid {worker.process.pid})"
        told = self._told(process_id)
        if "pid" in told:
            here = told.get("node") in {"", self._node_id}
            return f"{told.get('kind', 'a process')} (pid {told['pid']}{'' if here else ' on another node'})"
        return f"a process that is gone or on another node ({process_id[:12]})"

    def readers(self, arena: ArenaLocation) -> list[Reader]:
        """What each of them reads of the object store, which has that arena, at the moment."""
        found = [
            Reader(
                worker.worker_id,
                self.name_of(worker.worker_id),
                bytes_read_by(worker.process.pid, arena),
                at_work=worker.runs_tasks,
            )
            for worker in self._workers.all()
            if worker.process is not None
        ]
        for process_id in self._jobs.drivers():
            pid = int(self._told(process_id).get("pid", 0))
            found.append(Reader(process_id, self.name_of(process_id), bytes_read_by(pid, arena), at_work=False))
        return found

    def _told(self, process_id: str) -> dict[str, str]:
        """What a process says of itself."""
        channel = self._process.endpoint.channel(process_id)
        return channel.peer_info if channel is not None else {}
