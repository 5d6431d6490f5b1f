"""The machines there are, or should soon be, and how far each has come."""

from typing import Literal

from ..provider.instance import Instance, NodeType

Stage = Literal["requested", "starting", "joined", "draining", "lost", "ending"]
"""How far: asked for; the provider has it; its node is in the cluster; is to be empty; is lost; it is to end."""

COMING: tuple[Stage, ...] = ("requested", "starting")


class Machine:
    """One instance, from the wish to the end.

    Attributes:
        name: its own for all time.
        node_type: the name of its type.
        request_id: of the `Launch` it was asked for with; "" where it was found.
        since: when the stage began.
        sent_at: when it was last asked for, or told to end.
        answered_at: when the provider was first known to have it; None before.
        instance: as last listed.
        node_id: of its node; "" while it has none.
        drained_at: when its node was last told to drain.
    """

    __slots__ = (
        "answered_at",
        "drained_at",
        "instance",
        "name",
        "node_id",
        "node_type",
        "request_id",
        "sent_at",
        "since",
        "stage",
    )

    def __init__(self, name: str, node_type: str, request_id: str, now: float) -> None:
        self.name = name
        self.node_type = node_type
        self.request_id = request_id
        self.stage: Stage = "requested"
        self.since = self.sent_at = now
        self.answered_at: float | None = None
        self.drained_at = 0.0
        self.instance: Instance | None = None
        self.node_id = ""


class Fleet:
    """All machines, counted by type and stage. Not thread-safe."""

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}
        self.counts: dict[str, dict[Stage, int]] = {}
        self.by_stage: dict[Stage, dict[str, Machine]] = {
            "requested": {},
            "starting": {},
            "joined": {},
            "draining": {},
            "lost": {},
            "ending": {},
        }

    def add(self, machine: Machine) -> None:
        """A machine that was not known."""
        self.machines[machine.name] = machine
        self._count(machine, 1)
        self.by_stage[machine.stage][machine.name] = machine

    def move(self, machine: Machine, stage: Stage, now: float) -> None:
        """It has come further."""
        if machine.stage == stage:
            return
        self._count(machine, -1)
        del self.by_stage[machine.stage][machine.name]
        machine.stage, machine.since = stage, now
        self._count(machine, 1)
        self.by_stage[stage][machine.name] = machine

    def remove(self, machine: Machine) -> None:
        """It is no more."""
        if self.machines.pop(machine.name, None) is not None:
            self._count(machine, -1)
            del self.by_stage[machine.stage][machine.name]

    def active(self, node_type: str) -> int:
        """How many there are of a type that are not about to end."""
        return sum(count for stage, count in self.counts.get(node_type, {}).items() if stage != "ending")

    def staying(self, node_type: str) -> int:
        """How many there are of a type that were not told to go."""
        return self.active(node_type) - self.counts.get(node_type, {}).get("draining", 0)

    def existing(self) -> dict[str, int]:
        """How many there are of each type, with those that were told to end: until the provider says that they do."""
        found = {name: self.active(name) for name in self.counts}
        for machine in self.by_stage["ending"].values():
            if machine.instance is not None and machine.instance.state != "ending":
                found[machine.node_type] += 1
        return found

    def coming(self) -> dict[str, int]:
        """How many of each type are on their way."""
        found = {name: sum(stages.get(stage, 0) for stage in COMING) for name, stages in self.counts.items()}
        return {name: count for name, count in found.items() if count}

    def _count(self, machine: Machine, change: int) -> None:
        stages = self.counts.setdefault(machine.node_type, {})
        stages[machine.stage] = stages.get(machine.stage, 0) + change


def surplus(fleet: Fleet, node_types: dict[str, NodeType], max_workers: int) -> dict[str, int]:
    """By type, how many machines there are that there may not be and that were not told to go yet."""
    over: dict[str, int] = {}
    for name in fleet.counts:
        most = node_types[name].max_workers if name in node_types else 0
        over[name] = max(0, fleet.staying(name) - most)
    in_all = sum(fleet.staying(name) for name in fleet.counts) - sum(over.values()) - max_workers
    for name in reversed([*node_types]):
        if in_all <= 0:
            break
        more = min(in_all, fleet.staying(name) - over.get(name, 0))
        over[name] = over.get(name, 0) + more
        in_all -= more
    return {name: count for name, count in over.items() if count > 0}
