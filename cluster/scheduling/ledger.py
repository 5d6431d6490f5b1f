"""What a node, or a reserved bundle on it, has and has given out."""

from collections.abc import Mapping

import msgspec

from .resources import ACCELERATORS, CPU, UNIT, ResourceSet

Shares = dict[str, dict[int, int]]
"""Accelerator kind -> device index -> units of that device."""


class Allocation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one lease holds.

    Attributes:
        resources: the amounts.
        shares: for accelerators, which device gives how many units.
        lasting: it is an actor's or a bundle's, which end when somebody wants it, and not a task's, which ends by
            itself.
    """

    resources: ResourceSet
    shares: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = ()
    lasting: bool = False

    def devices(self) -> dict[str, list[int]]:
        """Device indexes by accelerator kind, as a worker is told them."""
        return {kind: [index for index, _ in shares] for kind, shares in self.shares}


class Ledger:
    """Books of amounts, and of accelerators by device. Not thread-safe.

    A bundle's ledger is opened with the allocation that the bundle holds on its node, so that a device reserved for a
    placement group is the very device its tasks see.
    """

    __slots__ = ("available", "free", "lasting", "total")

    def __init__(self, total: ResourceSet, shares: Mapping[str, Mapping[int, int]] | None = None) -> None:
        self.total = total
        self.available: dict[str, int] = total.units()
        """Units by kind. CPU is below zero while unblocked workers outnumber the CPUs."""
        self.lasting: dict[str, int] = dict.fromkeys(self.available, 0)
        """Units by kind that would still be taken if every task ended."""
        self.free: Shares = {kind: dict(devices) for kind, devices in (shares or {}).items()}
        for kind, amount in total.amounts:
            if kind in ACCELERATORS and kind not in self.free:
                if amount % UNIT:
                    raise ValueError(f"A node has whole devices; {amount / UNIT:g} of {kind!r} is not whole.")
                self.free[kind] = dict.fromkeys(range(amount // UNIT), UNIT)

    @classmethod
    def within(cls, allocation: Allocation) -> "Ledger":
        """The books of a bundle that holds `allocation` on its node."""
        return cls(allocation.resources, {kind: dict(shares) for kind, shares in allocation.shares})

    def fits(self, request: ResourceSet) -> bool:
        """Whether `allocate` would succeed now."""
        return fits(request, self.available, self.free)

    def allocate(self, request: ResourceSet, *, lasting: bool = False) -> Allocation | None:
        """Take `request`, all or nothing; None when it does not fit now. `lasting`: see `Allocation`."""
        if not request.fits(self.available):
            return None
        picked: list[tuple[str, tuple[tuple[int, int], ...]]] = []
        for kind, amount in request.amounts:
            if kind in self.free:
                devices = pick_devices(self.free[kind], amount)
                if devices is None:
                    return None
                picked.append((kind, devices))
        for kind, amount in request.amounts:
            self.available[kind] -= amount
        for kind, devices in picked:
            for index, share in devices:
                self.free[kind][index] -= share
        if lasting:
            for kind, amount in request.amounts:
                self.lasting[kind] += amount
        return Allocation(request, tuple(picked), lasting)

    def release(self, allocation: Allocation) -> None:
        """Give everything back. The caller does so exactly once."""
        for kind, amount in allocation.resources.amounts:
            self.available[kind] += amount
            if allocation.lasting:
                self.lasting[kind] -= amount
        for kind, shares in allocation.shares:
            for index, share in shares:
                self.free[kind][index] += share

    def lend_cpu(self, allocation: Allocation) -> None:
        """The holder waits and needs no CPU meanwhile."""
        if cpu := allocation.resources.get(CPU):
            self.available[CPU] += cpu
            if allocation.lasting:
                self.lasting[CPU] -= cpu

    def return_cpu(self, allocation: Allocation) -> None:
        """The holder runs again; CPU may go below zero, which ends as leases end."""
        if cpu := allocation.resources.get(CPU):
            self.available[CPU] -= cpu
            if allocation.lasting:
                self.lasting[CPU] += cpu

    def reachable(self) -> dict[str, int]:
        """Units by kind that would be free if every task ended."""
        return {kind: units - self.lasting[kind] for kind, units in self.total.amounts}


def pick_devices(free: Mapping[int, int], amount: int) -> tuple[tuple[int, int], ...] | None:
    """Choose devices for `amount` units: whole ones, or the fullest device that has that share; None if none does."""
    if amount <= UNIT:
        best = min(((left, index) for index, left in free.items() if left >= amount), default=None)
        return None if best is None else ((best[1], amount),)
    whole = [index for index, left in free.items() if left == UNIT][: amount // UNIT]
    return tuple((index, UNIT) for index in whole) if len(whole) == amount // UNIT else None


def fits(request: ResourceSet, available: Mapping[str, int], free: Mapping[str, Mapping[int, int]]) -> bool:
    """Whether a node with this can hold `request`: halves of two devices are not a whole one."""
    if not request.fits(available):
        return False
    return not free or all(
        kind not in free or pick_devices(free[kind], amount) is not None for kind, amount in request.amounts
    )


def utilisation(total: Mapping[str, int], available: Mapping[str, int]) -> float:
    """How busy the scarcest of CPU and memories is, 0 to 1 (above 1 while CPUs are oversubscribed)."""
    busiest = 0.0
    for kind in (CPU, "memory", "object_store_memory"):
        if has := total.get(kind, 0):
            busiest = max(busiest, 1.0 - available.get(kind, 0) / has)
    return busiest
