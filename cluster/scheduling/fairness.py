"""Whose turn it is: when to hold resources back for who waits long, and which leases to ask back.

Leases are shared by turns. A waiting demand may take from one that holds more than itself; one that holds nothing may
also take from an equal whose lease is older than a quantum. Whoever gives a lease back queues up behind, so with any
number of demands each comes to its turn (round robin; Shreedhar and Varghese, "Efficient fair queuing using deficit
round robin", 1995, has the idea for packets).
"""

import math
from collections.abc import Iterable

from .lease_queue import Demand, Lease
from .ledger import Ledger
from .resources import ResourceSet


def holds_back(waited: float, patience: float) -> bool:
    """Whether, after waiting that long, a large request keeps smaller ones from the resources it lacks.

    Windows of holding and of letting pass alternate and double in length from `patience` seconds. A request that needs
    several short tasks to end at once so comes to its turn, and one that waits for a task without end costs others at
    most half the time.
    """
    turns = waited / patience - 1.0
    if turns < 0:
        return False
    cycle = math.floor(math.log2(turns / 2 + 1))
    return turns - 2 * (2**cycle - 1) < 2**cycle


def missing(request: ResourceSet, ledger: Ledger) -> dict[str, int]:
    """Units that must come free before `request` fits; where only devices are fragmented, the devices asked for."""
    lacking = request.lacking(ledger.available)
    if not lacking and not ledger.fits(request):
        return {kind: amount for kind, amount in request.amounts if kind in ledger.free}
    return lacking


class ReclaimPlan:
    """One round of choosing leases to ask back.

    Args:
        leases: all of the node's leases.
        now: the time, in seconds.
        quantum: seconds that a lease is left alone by an equal.
    """

    def __init__(self, leases: Iterable[Lease], now: float, quantum: float) -> None:
        self._now = now
        self._quantum = quantum
        self._holders: dict[Demand, list[Lease]] = {}
        self._promised: dict[tuple[int, str], int] = {}
        for lease in leases:
            if lease.reclaiming:
                for kind, units in lease.allocation.resources.amounts:
                    key = (id(lease.ledger), kind)
                    self._promised[key] = self._promised.get(key, 0) + units
            elif lease.demand.request_id is None and lease.worker_id is not None and not lease.blocked:
                self._holders.setdefault(lease.demand, []).append(lease)

    def claim(self, demand: Demand | None, lacking: dict[str, int], ledger: Ledger, *, several: bool) -> list[Lease]:
        """Leases whose return would let the demand run; empty where none may be taken or enough are on their way.

        Without `several`, only where a single lease is enough. `demand` is None for bundles of placement groups.
        """
        lacking = self._less_promised(lacking, ledger)
        own = len(self._holders.get(demand, ())) if demand is not None else 0
        idle_handed = len(demand.leases) if demand is not None else 0
        short = dict(lacking)
        claimed: list[Lease] = []
        while short:
            lease = self._victim(
                demand, max(own, idle_handed), ledger, short if several else lacking, whole=not several
            )
            if lease is None:
                break
            self._holders[lease.demand].remove(lease)
            claimed.append(lease)
            resources = lease.allocation.resources
            short = {kind: left for kind, units in short.items() if (left := units - resources.get(kind)) > 0}
        return [] if short else claimed

    def _less_promised(self, lacking: dict[str, int], ledger: Ledger) -> dict[str, int]:
        short: dict[str, int] = {}
        for kind, units in lacking.items():
            key = (id(ledger), kind)
            used = min(units, self._promised.get(key, 0))
            if used:
                self._promised[key] -= used
            if units > used:
                short[kind] = units - used
        return short

    def _victim(
        self, demand: Demand | None, own: int, ledger: Ledger, lacking: dict[str, int], *, whole: bool
    ) -> Lease | None:
        helps = _covers if whole else _contributes
        best: Lease | None = None
        most = -1
        for holder, leases in self._holders.items():
            if holder is demand or len(leases) <= most:
                continue
            for lease in leases:
                if lease.ledger is ledger and helps(lease, lacking) and self._may_take(holder, lease, own):
                    best, most = lease, len(leases)
                    break
        return best

    def _may_take(self, holder: Demand, lease: Lease, own: int) -> bool:
        held = len(self._holders[holder])
        if holder.wanted < held or held > own + 1:
            return True
        return own == 0 and self._now - lease.since >= self._quantum


def _covers(lease: Lease, lacking: dict[str, int]) -> bool:
    return all(lease.allocation.resources.get(kind) >= units for kind, units in lacking.items())


def _contributes(lease: Lease, lacking: dict[str, int]) -> bool:
    return any(lease.allocation.resources.get(kind) for kind in lacking)
