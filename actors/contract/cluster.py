"""Processes, drivers and the cluster."""

import msgspec

from ...transport.address import ProcessAddress
from ...transport.tls import TlsConfig
from .body import Body


class WorkerConfig(Body, frozen=True):
    """What a worker process is started with.

    `environment` is a runtime environment's key, `definition` what it stands for (an encoded `EnvironmentDefinition`),
    `packages` where its packages are unpacked, and `preset` the variables of it that are set already. `folder` and
    `search_path` are the driver's whose job the worker is for, where it has an environment. `cluster` is the cluster's
    address, for people; `gate` is the node's "host:port", by which processes of other hosts reach the worker ("": there
    are none), and `tls` what they see there.
    """

    process_id: str
    host_id: str
    node_id: bytes
    token: bytes
    socket: str
    node: ProcessAddress
    cluster: str
    arena: bytes
    session: str
    session_folder: str
    labels: dict[str, str]
    environment: str
    definition: bytes
    packages: dict[str, str]
    preset: list[str]
    folder: str
    search_path: list[str]
    gate: str = ""
    tls: TlsConfig | None = None


class WorkerUnfit(Body, frozen=True):
    """To the node manager, from a worker that ends: its environment could not be set up in it."""

    reason: str


class WorkerReady(Body, frozen=True):
    """To the node manager, from a worker: it listens."""

    process_id: str
    address: ProcessAddress


class AssignWorker(Body, frozen=True):
    """To a worker's core: what it is leased for, before the first invocation that comes with the lease.

    `accelerator_ids` name devices as the programs of the node know them. `folder` and `search_path` are the driver's.
    """

    job_id: bytes
    namespace: str
    resources: dict[str, int]
    accelerator_ids: dict[str, list[str]]
    placement_group: bytes
    capture: bool
    incarnation: int
    folder: str = ""
    search_path: list[str] = msgspec.field(default_factory=list)


class RegisterDriver(Body, frozen=True):
    """To the node manager, from a driver. Answered with `DriverRegistered`.

    `folder` is its working directory, `search_path` where it imports modules from. `pid` and `command` are for people.
    `submission_id` names the submitted job that it is part of; "": none. `started` is a Unix time in milliseconds.
    """

    address: ProcessAddress
    job_id: bytes
    namespace: str
    log_to_driver: bool
    folder: str = ""
    search_path: list[str] = msgspec.field(default_factory=list)
    pid: int = 0
    command: str = ""
    submission_id: str = ""
    started: int = 0


class DriverRegistered(Body, frozen=True):
    """What a driver needs to know of the node it is on. `cluster` is the cluster's address, for people."""

    node_id: bytes
    cluster: str
    arena: bytes
    session: str
    session_folder: str
    labels: dict[str, str]


class FlushOutput(Body, frozen=True):
    """To a node manager: answer when all that its workers have printed so far was shown.

    `everywhere`: and what the workers of all other nodes have.
    """

    everywhere: bool = True


class QueryState(Body, frozen=True):
    """To the head: a part of the cluster's state, as in `Runtime.state`. Answered with JSON-like msgpack."""

    kind: str


class RequestResources(Body, frozen=True):
    """To the head: there is to be room for this, each on one node, in the cluster as a whole. Replaces what was asked.

    `bundles` are units by kind; `selectors` are label selectors, one for each. Answered with nothing, or an error.
    """

    bundles: list[dict[str, int]]
    selectors: list[dict[str, str]]


class HeadReplaced(Body, frozen=True):
    """To a core: the head was restarted, or another has taken over, and does not know who watches what."""


class HeadNotice(Body, frozen=True):
    """To a core that waits for the head: what its user should know of that."""

    text: str


class HoldSubmissions(Body, frozen=True):
    """To a core: whether its threads are to wait before they say more to the head, as too much waits for it already."""

    holds: bool


class NodesGone(Body, frozen=True):
    """To a core: the cluster has given up these nodes (in hexadecimal), so nothing comes from their processes."""

    node_ids: list[str]


class OutputLines(Body, frozen=True):
    """To a driver's core: lines that its workers printed."""

    batch: bytes
