"""Leases: workers that a caller may send tasks to."""

from typing import Any

import msgspec

from ...transport.address import ProcessAddress
from .body import Body


class LeaseSpec(Body, frozen=True):
    """What a scheduling class needs of a worker."""

    resources: dict[str, int]  # fixed point, 1/10000
    strategy: dict[str, Any]
    labels: dict[str, str]
    environment: str  # key of the runtime environment
    job_id: bytes
    retriable: bool = True  # its tasks run again should their worker be stopped


class Demand(Body, frozen=True):
    """To a node manager: the caller could use `wanted` workers of this class, all in all.

    Absolute, so that it may be repeated. `locality`: bytes of large arguments of the tasks that go next, by node (id in
    hexadecimal), most first; empty where the caller's own node is as good as any.
    """

    class_key: int
    wanted: int
    version: int
    spec: LeaseSpec
    placed: bool = False
    seen_redirects: int = 0
    locality: list[tuple[str, int]] = msgspec.field(default_factory=list[tuple[str, int]])


class LeaseGranted(Body, frozen=True):
    """To a core: a worker of the class is the caller's until it gives the lease back."""

    class_key: int
    lease_id: str
    worker: ProcessAddress
    node: ProcessAddress
    accelerator_ids: dict[str, list[str]]


class LeaseRedirected(Body, frozen=True):
    """To a core: in all, `total` workers of the class are to be asked of another node manager instead."""

    class_key: int
    total: int
    node: ProcessAddress


class LeaseInfeasible(Body, frozen=True):
    """To a core: nothing in the cluster can satisfy the class as things are; `reason` is for people.

    `fatal`: waiting is pointless, its tasks fail. `kind` is "environment" where its runtime environment cannot be made,
    "group" where its placement group was removed.
    """

    class_key: int
    reason: str
    fatal: bool
    kind: str


class ReclaimLease(Body, frozen=True):
    """To a core: somebody waits; give the lease back as soon as nothing runs on it."""

    lease_id: str


class ReturnLease(Body, frozen=True):
    """To a node manager."""

    lease_id: str
    worker_ok: bool


class WorkerBlocked(Body, frozen=True):
    """To a node manager, from a worker: it waits in `get` or `wait` (or no longer does)."""

    blocked: bool


class WorkerLeaving(Body, frozen=True):
    """To a node manager, from a worker: it ends by itself now, and needs no signal."""

    reason: str


class DescribeDeath(Body, frozen=True):
    """To a node manager: why did that process end? Answered with an encoded `DeathCause` when its end is known."""

    process_id: str
