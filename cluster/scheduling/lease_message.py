"""What a node's lease machine hears (events) and says (commands).

Whoever carries them uses the project's channels, which keep order and lose nothing until a peer is declared lost:
`Grant`, `LeaseReturned` and the answers to the head rely on it. Everything else is absolute and heals a loss by itself.

Ids: callers are process ids; `class_key` is the caller's own name for a scheduling class; lease ids count per node and
are never used again; `ask_id` names one stretch of time in which a demand is not met here.
"""

import msgspec

from .ledger import Shares
from .resources import ResourceSet
from .strategy import LeaseSpec

GROUP_REMOVED = "its placement group was removed"
"""The `reason` of `StopWorker` where a worker ends with the bundle that it ran in."""


class Struct(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All events and commands: frozen values, so never in a cycle, and nothing for the garbage collector to look at."""


# Events: from callers


class DemandChanged(Struct, frozen=True, tag="demand"):
    """How many workers of a class a caller could use from this node, counting those it holds. Absolute and idempotent.

    Attributes:
        spec: fixed for the life of a class; only the first one counts.
        version: increases with every change; an event that is not newer than the last is ignored.
        placed: the scheduler sent this demand here, so the node serves it without asking for a better place.
        seen_redirects: sum of the newest `Redirect.total` of each node that the caller has taken off `wanted`.
        locality: (node id, bytes of the tasks' large arguments that lie there), largest first.
    """

    caller: str
    class_key: bytes
    spec: LeaseSpec
    wanted: int
    version: int
    placed: bool = False
    seen_redirects: int = 0
    locality: tuple[tuple[str, int], ...] = ()


class LeaseReturned(Struct, frozen=True, tag="returned"):
    """The caller is done with a lease; `worker_ok` is false where its worker must not be used again."""

    lease_id: int
    worker_ok: bool = True


class CallerLost(Struct, frozen=True, tag="caller_lost"):
    """The caller is gone: its demand ends, and so do the workers that run its tasks."""

    caller: str


# Events: from this node's workers


class WorkerPrepared(Struct, frozen=True, tag="prepared"):
    """What the environment of `StartWorker(start_id)` needs is at hand; its process starts."""

    start_id: int


class WorkerStarted(Struct, frozen=True, tag="started"):
    """The worker of `StartWorker(start_id)` is ready."""

    start_id: int
    worker_id: str


class WorkerStartFailed(Struct, frozen=True, tag="start_failed"):
    """The worker of `StartWorker(start_id)` will not come. `environment`: its runtime environment cannot be made."""

    start_id: int
    text: str
    environment: bool = False


class WorkerLost(Struct, frozen=True, tag="worker_lost"):
    """A worker process ended; `text` says how (exit code or signal, last words)."""

    worker_id: str
    text: str = ""


class WorkerBlocked(Struct, frozen=True, tag="blocked"):
    """The leased worker waits in `get` or `wait` and needs no CPU. `sequence` counts block and unblock per lease."""

    lease_id: int
    sequence: int


class WorkerUnblocked(Struct, frozen=True, tag="unblocked"):
    """The leased worker runs again."""

    lease_id: int
    sequence: int


# Events: from the head


class RequestWorker(Struct, frozen=True, tag="request"):
    """A worker of its own for an actor. Idempotent by `request_id`; refused after `patience` seconds without room."""

    request_id: str
    spec: LeaseSpec
    patience: float = 1.0


class ReleaseWorker(Struct, frozen=True, tag="release"):
    """The requested worker is not needed (any more): ends it, or the request."""

    request_id: str


class ReservePrepare(Struct, frozen=True, tag="prepare"):
    """Hold these bundles, all or none; refused when there was no room for `patience` seconds. Idempotent by attempt."""

    group_id: bytes
    attempt: int
    bundles: dict[int, ResourceSet]
    patience: float = 0.0


class ReserveCommit(Struct, frozen=True, tag="commit"):
    """All nodes hold theirs: open the bundles of attempts up to this one for leases."""

    group_id: bytes
    attempt: int


class ReserveCancel(Struct, frozen=True, tag="cancel"):
    """Give back the bundles of attempts from `first` to `attempt`; what runs in them ends."""

    group_id: bytes
    attempt: int
    first: int = 0


class Place(Struct, frozen=True, tag="place"):
    """The scheduler's answer to an ask: `total` of its workers, since it began, belong on `node_id` (or this one)."""

    ask_id: int
    node_id: str
    total: int


class Unplaceable(Struct, frozen=True, tag="unplaceable"):
    """No node can ever hold this ask as the cluster is now; `fatal`: and waiting is pointless. `kind`: see `Never`."""

    ask_id: int
    text: str
    fatal: bool = False
    kind: str = ""


class HeadConnected(Struct, frozen=True, tag="head"):
    """The head is there, maybe after a restart: tell it all, answered by `WorkersHeld` and a report."""


class PeersChanged(Struct, frozen=True, tag="peers"):
    """How many other nodes there are that work could go to."""

    count: int


class ReportPace(Struct, frozen=True, tag="pace"):
    """Leave so many times as much time between reports as usual, up to that between signs of life."""

    factor: int


class JobEnded(Struct, frozen=True, tag="job_ended"):
    """A job is over: its idle workers end (those that run its tasks end with `CallerLost`)."""

    job_id: bytes


class Drain(Struct, frozen=True, tag="drain"):
    """Grant no more, for good; what waits goes elsewhere, what runs ends by itself, and idle workers end."""


class Tick(Struct, frozen=True, tag="tick"):
    """Time has passed; due at `LeaseMachine.wake_at()`."""


LeaseEvent = (
    DemandChanged
    | LeaseReturned
    | CallerLost
    | WorkerPrepared
    | WorkerStarted
    | WorkerStartFailed
    | WorkerLost
    | WorkerBlocked
    | WorkerUnblocked
    | RequestWorker
    | ReleaseWorker
    | ReservePrepare
    | ReserveCommit
    | ReserveCancel
    | Place
    | Unplaceable
    | HeadConnected
    | PeersChanged
    | ReportPace
    | JobEnded
    | Drain
    | Tick
)


# Commands: to callers


class Grant(Struct, frozen=True, tag="grant"):
    """The caller may push tasks of the class to the worker. `devices`: accelerator indexes by kind."""

    caller: str
    class_key: bytes
    lease_id: int
    worker_id: str
    devices: dict[str, list[int]]


class Redirect(Struct, frozen=True, tag="redirect"):
    """In all, `total` workers of the class are to be asked of `node_id` instead of this node (see `seen_redirects`)."""

    caller: str
    class_key: bytes
    node_id: str
    total: int


class Reclaim(Struct, frozen=True, tag="reclaim"):
    """Others wait: push no more to this lease and return it when its tasks have ended."""

    caller: str
    class_key: bytes
    lease_id: int


class LeaseLost(Struct, frozen=True, tag="lease_lost"):
    """The lease's worker ended; `text` says why."""

    caller: str
    class_key: bytes
    lease_id: int
    text: str


class Infeasible(Struct, frozen=True, tag="infeasible"):
    """No node can run the class: it waits for one (or, `fatal`, its tasks fail). `kind`: see `Never`."""

    caller: str
    class_key: bytes
    text: str
    fatal: bool
    kind: str = ""


class EnvironmentFailed(Struct, frozen=True, tag="env_failed"):
    """The class's runtime environment cannot be made: its tasks fail. The demand counts as zero until it changes."""

    caller: str
    class_key: bytes
    text: str


# Commands: to this node's processes


class StartWorker(Struct, frozen=True, tag="start"):
    """Start a worker process; answered by `WorkerStarted` or `WorkerStartFailed`. An empty job may become any job."""

    start_id: int
    env_key: str
    job_id: bytes


class CancelStart(Struct, frozen=True, tag="cancel_start"):
    """Nobody needs the worker of `StartWorker(start_id)` any more, whose environment is still made; not answered."""

    start_id: int


class StopWorker(Struct, frozen=True, tag="stop"):
    """End a worker process; `reason` is what its death is put down to. `WorkerLost` may follow and is not needed."""

    worker_id: str
    reason: str


# Commands: to the head


class WorkerGranted(Struct, frozen=True, tag="worker_granted"):
    """The answer to `RequestWorker`."""

    request_id: str
    lease_id: int
    worker_id: str
    devices: dict[str, list[int]]


class WorkerRefused(Struct, frozen=True, tag="worker_refused"):
    """The answer to `RequestWorker`: not here. `permanent`: nor anywhere, for its environment cannot be made."""

    request_id: str
    text: str
    permanent: bool = False


class RequestedWorkerLost(Struct, frozen=True, tag="worker_gone"):
    """A granted worker ended."""

    request_id: str
    worker_id: str
    text: str


class WorkersHeld(Struct, frozen=True, tag="held"):
    """The requests whose workers run here, the groups that have bundles here, open or prepared, and the jobs it knows.

    What the head believes beyond that has ended; what it does not know it releases, or says is over.
    """

    request_ids: tuple[str, ...]
    group_ids: tuple[bytes, ...] = ()
    job_ids: tuple[bytes, ...] = ()


class Reserved(Struct, frozen=True, tag="reserved"):
    """The answer to `ReservePrepare`."""

    group_id: bytes
    attempt: int
    ok: bool
    text: str = ""


class UnmetDemand(Struct, frozen=True, array_like=True):
    """A demand that a node cannot meet now: `count` workers more, of which `seen` placements are already taken off."""

    ask_id: int
    spec: LeaseSpec
    count: int
    seen: int
    locality: tuple[tuple[str, int], ...] = ()


class BundleReport(Struct, frozen=True, array_like=True):
    """A committed bundle and what is left in it. `lasting`: as a report's."""

    group_id: bytes
    index: int
    total: ResourceSet
    available: dict[str, int]
    free: Shares
    lasting: dict[str, int] = {}

    def reachable(self) -> dict[str, int]:
        """Units by kind that would be free if every task in it ended."""
        return {kind: units - self.lasting.get(kind, 0) for kind, units in self.total.amounts}


class NodeReport(Struct, frozen=True, tag="report"):
    """All the head needs to know of a node; the newest version replaces all before.

    Attributes:
        available: units by kind; CPU is below zero while workers that were blocked outnumber the CPUs.
        lasting: of what is taken, what actors and bundles hold: it does not come free as tasks end.
        pace: see `ReportPace`; the one that the node goes by.
        granted: leases for tasks that it has granted in all because the scheduler sent them here: these are in
            `available`.
    """

    node_id: str
    version: int
    total: ResourceSet
    available: dict[str, int]
    free: Shares
    labels: dict[str, str]
    draining: bool = False
    bundles: tuple[BundleReport, ...] = ()
    unmet: tuple[UnmetDemand, ...] = ()
    lasting: dict[str, int] = {}
    pace: int = 1
    granted: int = 0


LeaseCommand = (
    Grant
    | Redirect
    | Reclaim
    | LeaseLost
    | Infeasible
    | EnvironmentFailed
    | StartWorker
    | CancelStart
    | StopWorker
    | WorkerGranted
    | WorkerRefused
    | RequestedWorkerLost
    | WorkersHeld
    | Reserved
    | NodeReport
)
