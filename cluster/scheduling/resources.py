"""Amounts of resources, in fixed point so that a million additions lose nothing."""

import math
from collections.abc import Iterable, Mapping

import msgspec

from ...exceptions.death import format_bytes

UNIT = 10_000
"""One of anything, in the integers that the scheduler counts with."""

CPU = "CPU"
HEAD_RESOURCE = "node:__internal_head__"
"""Ray's name of what only the head's node has: `resources={"node:__internal_head__": 0.001}` runs something there."""

ACCELERATORS = frozenset({"GPU", "TPU", "NPU", "HPU", "neuron_cores"})
"""Kinds that are handed out by instance: a request names whole devices or a share of one device, never 1.5 of them."""

BYTES = frozenset({"memory", "object_store_memory"})
"""Kinds that are counted in bytes; fractions of a byte round up."""


class ResourceSet(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An immutable, hashable set of amounts: what a task asks for, what a node has.

    Attributes:
        amounts: (kind, units) sorted by kind, without zeros. Make one with `parse` or `of_units`.
    """

    amounts: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, requested: Mapping[str, float]) -> "ResourceSet":
        """From what people write, such as `{"CPU": 1, "GPU": 0.5, "memory": 2e9}`.

        Raises:
            TypeError: a kind is not text or an amount not a number.
            ValueError: an amount is negative, not finite, finer than 1/10000, or of accelerators above 1 and not whole.
        """
        return cls.of_units({kind: _units(kind, amount) for kind, amount in requested.items()})

    @classmethod
    def of_units(cls, units: Mapping[str, int]) -> "ResourceSet":
        """From fixed-point amounts; zeros are dropped."""
        return cls(tuple(sorted((kind, amount) for kind, amount in units.items() if amount)))

    def get(self, kind: str) -> int:
        """Units of one kind, 0 where there is none."""
        for name, amount in self.amounts:
            if name == kind:
                return amount
        return 0

    def units(self) -> dict[str, int]:
        """As a new dictionary of fixed-point units."""
        return dict(self.amounts)

    def floats(self) -> dict[str, float]:
        """As people write it; whole amounts are whole floats."""
        return {kind: amount / UNIT for kind, amount in self.amounts}

    def __add__(self, other: "ResourceSet") -> "ResourceSet":
        total = dict(self.amounts)
        for kind, amount in other.amounts:
            total[kind] = total.get(kind, 0) + amount
        return ResourceSet.of_units(total)

    def __sub__(self, other: "ResourceSet") -> "ResourceSet":
        """What is left; raises ValueError where `other` is not contained, for amounts are never negative."""
        left = dict(self.amounts)
        for kind, amount in other.amounts:
            left[kind] = left.get(kind, 0) - amount
            if left[kind] < 0:
                raise ValueError(f"Cannot take {other.describe()} from {self.describe()}: not enough {kind}.")
        return ResourceSet.of_units(left)

    def fits(self, available: Mapping[str, int]) -> bool:
        """Whether `available` (units by kind) has all of this."""
        for kind, amount in self.amounts:  # noqa: SIM110 - all() with a generator takes twice as long here
            if available.get(kind, 0) < amount:
                return False
        return True

    def lacking(self, available: Mapping[str, int]) -> dict[str, int]:
        """How many units of each kind `available` is short of."""
        return {kind: short for kind, amount in self.amounts if (short := amount - available.get(kind, 0)) > 0}

    def has_accelerator(self) -> bool:
        """Whether devices are asked for."""
        return any(kind in ACCELERATORS for kind, _ in self.amounts)

    def describe(self) -> str:
        """For error messages: `{CPU: 1, GPU: 0.5}`."""
        return "{" + ", ".join(f"{kind}: {describe_amount(kind, amount)}" for kind, amount in self.amounts) + "}"


def describe_amount(kind: str, units: int) -> str:
    """How much of a resource, for people."""
    return format_bytes(units // UNIT) if kind in BYTES else f"{units / UNIT:g}"


EMPTY = ResourceSet()


def total_of(sets: Iterable[ResourceSet]) -> ResourceSet:
    """The sum."""
    total: dict[str, int] = {}
    for one in sets:
        for kind, amount in one.amounts:
            total[kind] = total.get(kind, 0) + amount
    return ResourceSet.of_units(total)


def _units(kind: object, amount: object) -> int:
    if not isinstance(kind, str) or not kind:
        raise TypeError(f"A resource is named by text, such as 'CPU' or 'my_licence'; this one is {kind!r}.")
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"The amount of {kind!r} must be a number, not {type(amount).__name__} ({amount!r}).")
    if not math.isfinite(amount):
        raise ValueError(f"The amount of {kind!r} is {amount}: give a finite number, or leave it out for none.")
    if amount < 0:
        raise ValueError(f"The amount of {kind!r} is {amount}: resources cannot be negative.")
    if kind in BYTES:
        return math.ceil(amount) * UNIT
    units = round(amount * UNIT)
    if not math.isclose(units, amount * UNIT, rel_tol=1e-9, abs_tol=1e-6):
        raise ValueError(f"The amount of {kind!r} is {amount}: the scheduler counts in steps of 0.0001.")
    if kind in ACCELERATORS and units > UNIT and units % UNIT:
        raise ValueError(
            f"{amount} of {kind!r}: more than one device must be a whole number. Ask for {math.floor(amount)} or "
            f"{math.ceil(amount)}, or for a share (at most 1) of one device."
        )
    return units
