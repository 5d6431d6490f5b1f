"""What the head and the node managers say to each other.

What users' processes say to both is in actors/contract/.
"""

import msgspec

from ..actors.contract import Body
from ..transport.address import ProcessAddress
from .scheduling import lease_message as m

ToHead = m.WorkerGranted | m.WorkerRefused | m.RequestedWorkerLost | m.WorkersHeld | m.Reserved | m.NodeReport
"""What a lease machine says to the head."""


class RegisterNode(Body, frozen=True):
    """To the head: a node is there. Answered with `NodeRegistered` when its first report has come, too.

    `back` says that it was registered before, and `name` is for people.
    """

    node_id: bytes
    address: ProcessAddress
    host: str
    resources: dict[str, int]
    labels: dict[str, str]
    name: str = ""
    back: bool = False


class NodeRegistered(Body, frozen=True):
    """To a node: it can be used. `time` is the head's, in Unix seconds."""

    time: float


class FromProcess(Body, frozen=True):
    """To the head, from a node: what one of its processes says to the head.

    Always answered: with the answer that the process wants, or an empty one, when what it said will not be forgotten.
    """

    sender: ProcessAddress
    method: str
    body: bytes
    wants_reply: bool


class ToProcess(Body, frozen=True):
    """To a node, from the head: pass this on to an actor of one of its processes."""

    process_id: str
    actor: str
    method: str
    body: bytes


class ProcessHere(Body, frozen=True):
    """To the head that has followed another: a process that spoke to that one is there."""


class ProcessGone(Body, frozen=True):
    """To the head: a process that spoke to it has ended."""

    process_id: str


class DescribeJob(Body, frozen=True):
    """To the head: who is the driver of that job? Answered with its `RegisterDriver`, or an empty body: it has none."""

    job_id: bytes


class DriverLeft(Body, frozen=True):
    """To the head, from the node manager of a driver that is gone: its job is over."""

    job_id: bytes
    process_id: str


class StandBy(Body, frozen=True):
    """To the head: another one, which listens at that address, stands by for it."""

    address: str


class KeepPackages(Body, frozen=True):
    """To a head that stands by: copy these packages, which jobs need, from the head that leads.

    Answered with an empty body when it has all that it could get.
    """

    uris: list[str]


class HeadLeads(Body, frozen=True):
    """To a node manager, from a head that has begun to lead a session.

    Of two, the one with the higher `term` leads: the other was paused or cut off, and has not noticed.
    """

    term: int
    session: str


class KnownHeads(Body, frozen=True):
    """To a node manager: where heads listen, the one that leads and those that stand by."""

    addresses: list[str]


class EndCluster(Body, frozen=True):
    """To the head: the cluster is over. Its nodes end, and nothing is kept. Answered when they have been told."""


class DrainNode(Body, frozen=True):
    """To the head: have a node end in good order. Answered with `DrainAnswer`; may be repeated, with another deadline.

    Nothing new comes to the node; tasks that run there end; actors that may restart do so elsewhere, which does not
    count as one of their restarts; objects that others own are copied to other nodes. Then it ends; when `deadline_s`
    seconds are over, also if something runs there still. `reason` is for people. `if_idle`: only if nobody uses it.
    """

    node_id: bytes
    reason: str
    deadline_s: float
    if_idle: bool = False


class DrainAnswer(Body, frozen=True):
    """Whether the node will be drained; and if not, why."""

    accepted: bool
    text: str = ""


class DrainOrder(Body, frozen=True):
    """To a node manager: the head wants the node drained, within so many seconds."""

    deadline_s: float


class NodeDrained(Body, frozen=True):
    """To the head, from a node manager: nothing is left there that could be saved. Its `NodeExpired` may come."""

    node_id: bytes


class NodeExpired(Body, frozen=True):
    """To a node manager: the cluster has given the node up, and gone on without it; or (`over`) has ended. It ends."""

    reason: str
    over: bool = False


class NodeLeaving(Body, frozen=True):
    """To the head: a node ends, and nothing runs on it any more. Where it is lost, the node is missed soon enough."""

    node_id: bytes
    reason: str


class DescribeHead(Body, frozen=True):
    """To a node manager: how is its head? Answered with `HeadStanding`, also when the head is out of reach."""


class HeadStanding(Body, frozen=True):
    """What a node knows of its head: for how many seconds it has been `away`, or None where it is not.

    `refused` says why whoever answers at its address now cannot be this node's head; "" where nobody does.
    """

    away: float | None
    refused: str = ""


class FromNode(Body, frozen=True):
    """To the head: what a node's lease machine says."""

    node_id: bytes
    command: ToHead


class NodeOrder(Body, frozen=True):
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
        | m.ReportPace
        | m.JobEnded
        | m.Drain
    )


class PeerNodes(Body, frozen=True):
    """To a node manager: nodes that there are (by id in hexadecimal), and that are gone. `whole`: there are no others.

    Only a node that joins is told of all: telling each of all at each change would grow with the cube of their number.
    """

    nodes: dict[str, ProcessAddress]
    gone: list[str] = msgspec.field(default_factory=list[str])
    whole: bool = False


class StartActor(Body, frozen=True):
    """To a node manager: run an actor's constructor in a worker that was granted for it.

    `creation` is an encoded `Creation`, passed on unread. `held` and `devices` are what the actor holds.
    """

    actor_id: bytes
    incarnation: int
    worker_id: str
    creation: bytes
    job_id: bytes
    namespace: str
    held: dict[str, int]
    devices: dict[str, list[int]]
    group_id: bytes
    capture: bool


class ActorStarted(Body, frozen=True):
    """To the head: how a constructor ended. `address` is None where it failed, with the `error` it left."""

    actor_id: bytes
    incarnation: int
    address: ProcessAddress | None
    error: bytes


class TerminateActor(Body, frozen=True):
    """To a node manager: have a worker end an actor after the calls that are queued."""

    actor_id: bytes
    worker_id: str


class RequestLightWorker(Body, frozen=True):
    """To a node manager: a place in a host process of light actors. Answered like `RequestWorker`."""

    request_id: str
    job_id: bytes
    environment: str


class ReleaseLightWorker(Body, frozen=True):
    """To a node manager: a light actor is not needed any more."""

    request_id: str
