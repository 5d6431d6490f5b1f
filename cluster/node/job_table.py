"""What a node knows of the jobs that its workers work for."""

from collections.abc import Callable

from ...actors.contract import HEAD, RegisterDriver, decoder_of
from ...transport.address import ProcessAddress
from ...transport.error import TransportError
from ...transport.protocol import Reply
from ..cluster_message import DescribeJob
from ..system_process import SystemProcess


class JobTable:
    """Jobs by id: those of drivers that joined here, others as the head describes them. On the node process's loop."""

    def __init__(self, process: SystemProcess, head: ProcessAddress) -> None:
        self._process = process
        self._head = head
        self._known: dict[bytes, RegisterDriver] = {}
        self._asked: dict[bytes, list[Callable[[RegisterDriver | None], None]]] = {}

    def add(self, driver: RegisterDriver) -> None:
        """A driver has joined here."""
        self._known[driver.job_id] = driver

    def ended(self, job_id: bytes) -> None:
        """A job is over."""
        self._known.pop(job_id, None)

    def known(self) -> tuple[bytes, ...]:
        """The jobs that are not over, as far as this node has heard."""
        return tuple(self._known)

    def of_driver(self, process_id: str) -> list[bytes]:
        """The jobs of a driver process."""
        return [job_id for job_id, driver in self._known.items() if driver.address.process_id == process_id]

    def drivers(self) -> list[str]:
        """The driver processes that are known."""
        return [driver.address.process_id for driver in self._known.values()]

    def find(self, job_id: bytes, then: Callable[[RegisterDriver | None], None]) -> None:
        """Call `then` with a job's driver, at once where it is known; None where the job is over."""
        driver = self._known.get(job_id)
        if driver is not None or not job_id:
            then(driver)
            return
        waiting = self._asked.get(job_id)
        if waiting is not None:
            waiting.append(then)
            return
        self._asked[job_id] = [then]

        def described(reply: Reply | TransportError) -> None:
            found: RegisterDriver | None = None
            if not isinstance(reply, TransportError) and reply.body and not reply.failed:
                found = self._known[job_id] = decoder_of(RegisterDriver).decode(reply.body)
            for told in self._asked.pop(job_id):
                told(found)

        self._process.ask(self._head, HEAD, DescribeJob(job_id), described)
