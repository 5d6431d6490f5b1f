"""What the head and the node managers say to each other, beside what users' processes say to both (actors/contract.py)."""

from ..actors.contract import Body
from ..transport.address import ProcessAddress
from .scheduling import lease_message as m


class RegisterNode(Body):
    """To the head: a node is there. Repeated after every reconnection."""

    node_id: bytes
    address: ProcessAddress
    host: str
    resources: dict[str, int]
    labels: dict[str, str]


class FromNode(Body):
    """To the head: what a node's lease machine says."""

    node_id: bytes
    command: m.WorkerGranted | m.WorkerRefused | m.RequestedWorkerLost | m.Reserved | m.NodeReport


class NodeOrder(Body):
    """To a node manager: what the head wants of its lease machine."""

    event: (
        m.RequestWorker
        | m.ReleaseWorker
        | m.ReservePrepare
        | m.ReserveCommit
        | m.ReserveCancel
        | m.Place
        | m.Unplaceable
        | m.PeersChanged
        | m.JobEnded
        | m.Drain
    )


class PeerNodes(Body):
    """To a node manager: all nodes there are, by id in hexadecimal."""

    nodes: dict[str, ProcessAddress]
