"""The head's dealings with jobs: which drivers there are, and what ends with them."""

import logging
from typing import TYPE_CHECKING, NamedTuple

from ...actors.contract import NODE, RegisterDriver, decoder_of
from ...transport.channel import Channel
from ...transport.protocol import Call
from ..cluster_message import DescribeJob, DriverLeft, NodeOrder
from ..scheduling import lease_message as m
from .head_state import JOBS, Rows, decode_rows

if TYPE_CHECKING:
    from .head import Head

logger = logging.getLogger(__name__)


class _Row(NamedTuple):
    """What is kept of a job: its `RegisterDriver`, and the driver's node."""

    encoded: bytes
    node_id: str


class _Job:
    def __init__(self, row: _Row) -> None:
        self.driver: RegisterDriver = decoder_of(RegisterDriver).decode(row.encoded)
        self.encoded = row.encoded
        self.node_id = row.node_id


class JobDesk:
    """Part of the head actor; on its loop.

    A job ends with its driver's process. What the driver owned (actors, groups) ends as with any lost process; the
    nodes are told, so that they end the job's idle workers.
    """

    def __init__(self, head: "Head") -> None:
        self._head = head
        self._jobs: dict[bytes, _Job] = {}
        head.methods |= {
            "RegisterDriver": self._on_register,
            "DescribeJob": self._on_describe,
            "DriverLeft": self._on_left,
        }
        head.on_process_lost.append(self._process_lost)
        head.on_node_lost.append(self._node_lost)
        head.on_node_back.append(self._node_back)

    def restore(self, rows: Rows) -> None:
        """Know what a head before this one knew. Nodes tell which drivers have left meanwhile."""
        for key, row in decode_rows(rows, JOBS, _Row).items():
            self._jobs[bytes.fromhex(key)] = _Job(row)

    def node_of(self, process_id: str) -> str:
        """The node that a driver has joined; "" where that process is no driver."""
        return next((job.node_id for job in self._jobs.values() if job.driver.address.process_id == process_id), "")

    def job_of(self, process_id: str) -> bytes:
        """The job of a driver; b"" where that process is no driver."""
        return next((key for key, job in self._jobs.items() if job.driver.address.process_id == process_id), b"")

    def has_drivers_at(self, node_id: str) -> bool:
        """Whether a driver has joined that node."""
        return any(job.node_id == node_id for job in self._jobs.values())

    def driver_of(self, job_id: bytes) -> str:
        """The process id of a job's driver; "" where the job is not known."""
        job = self._jobs.get(job_id)
        return "" if job is None else job.driver.address.process_id

    def drivers(self) -> list[tuple[RegisterDriver, str]]:
        """All drivers, each with the node that it has joined."""
        return [(job.driver, job.node_id) for job in self._jobs.values()]

    def _on_register(self, channel: Channel, call: Call) -> None:
        driver: RegisterDriver = decoder_of(RegisterDriver).decode(call.body)
        row = _Row(call.body, self._head.node_desk.at(channel.peer.process_id))
        self._jobs[driver.job_id] = _Job(row)
        self._head.state.put(JOBS, driver.job_id.hex(), row)
        self._head.submissions.driver_joined(driver, row.node_id)

    def _on_describe(self, channel: Channel, call: Call) -> None:
        job = self._jobs.get(decoder_of(DescribeJob).decode(call.body).job_id)
        channel.reply(call.call_id, job.encoded if job is not None else b"")

    def _on_left(self, _: Channel, call: Call) -> None:
        left: DriverLeft = decoder_of(DriverLeft).decode(call.body)
        self._head.process_lost(left.process_id)

    def _process_lost(self, process_id: str) -> None:
        for job_id, job in list(self._jobs.items()):
            if job.driver.address.process_id == process_id:
                del self._jobs[job_id]
                self._head.state.delete(JOBS, job_id.hex())
                self._head.order_all(m.JobEnded(job_id))

    def _node_back(self, node_id: str, held: m.WorkersHeld) -> None:
        """Tell a node that jobs are over: what was said while it, or the head, was away it has not heard."""
        for job_id in held.job_ids:
            if job_id not in self._jobs:
                self._head.process.notify(self._head.nodes[node_id].address, NODE, NodeOrder(m.JobEnded(job_id)))

    def _node_lost(self, node_id: str) -> None:
        for job in list(self._jobs.values()):
            if job.node_id == node_id:
                self._head.process_lost(job.driver.address.process_id)
